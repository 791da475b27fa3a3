"""Read the addresses of clients, and the hosts that they ask for."""

import ipaddress
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Whoever has one address of IPv6 has a whole network of them.
IPV6_PREFIX = 64


def parse_address(text: str) -> Address | None:
    """Return an address, as IPv4 where it is mapped into IPv6; None for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def name_network(text: str) -> str:
    """Return what stands for one client: its address, or its network of IPv6.

    A client of a socket in the file system has no address, and is named as `text` has it.
    """
    address = parse_address(text)
    if address is None:
        return text
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


def is_rebindable(host: str) -> bool:
    """Return whether a Host header holds a name that somebody's DNS could point here.

    Browsers resolve localhost themselves (RFC 6761, section 6.3), and literals not at all.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return True
    is_local = name == "localhost" or name.endswith(".localhost")
    return not is_local and parse_address(name) is None
