"""Processes below one that a test started, from Linux's /proc."""

import ipaddress
import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Child:
    pid: int
    command: str

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


def list_children(parent: int) -> list[Child]:
    """Return the processes below one, at any depth."""
    pids = (
        int(pid)
        for task in PROC.glob(f"{parent}/task/*/children")
        for pid in task.read_text().split()
    )
    return [
        child
        for pid in pids
        for child in [Child(pid, (PROC / str(pid) / "cmdline").read_text()), *list_children(pid)]
    ]


def find_listening(pid: int) -> set[str]:
    """Return the addresses at which a process listens for TCP."""
    names = (_read_link(link) for link in (PROC / str(pid) / "fd").iterdir())
    sockets = {found[1] for name in names if (found := re.match(r"socket:\[(\d+)\]", name))}
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in (PROC / "net" / table).read_text().splitlines()[1:]
    ]
    # Fields: number, local address, remote address, state (0A listens), ..., inode as the tenth.
    local = (line[1].split(":")[0] for line in lines if line[3] == "0A" and line[9] in sockets)
    return {_read_address(address) for address in local}


def _read_link(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # The process has closed it meanwhile.
        return ""


def _read_address(text: str) -> str:
    """Read words of 32 bits, each in the processor's byte order."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
