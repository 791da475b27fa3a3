"""Take from a worker what it doesn't need: most files, all connections, other programs.

Should a crafted photo ever run code in a decoder, that code finds nothing to write to and nobody
to call. docs/reliability.md says what this guards and what it doesn't.
"""

import ipaddress
import os
import resource
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from app.paths import DATA, PACKAGE
from app.settings import Settings
from app.web.server.sandbox import landlock, seccomp
from app.web.server.sandbox.libc import PR_SET_DUMPABLE, prctl

IS_LINUX = sys.platform == "linux"
REDIS_PORT, DNS_PORT = 6379, 53
# Modules that are imported late, and the C library's own files: names of hosts, time zones,
# certificates, processors.
SYSTEM = """
/lib /lib64 /usr/lib /usr/lib64 /usr/local/lib /usr/share/zoneinfo /usr/share/ca-certificates
/etc/ld.so.cache /etc/localtime /etc/hosts /etc/host.conf /etc/resolv.conf /etc/nsswitch.conf
/etc/gai.conf /etc/services /etc/mime.types /etc/ssl /run/systemd/resolve /dev/urandom
/proc/self /proc/cpuinfo /proc/meminfo /sys/bus/pci/devices /sys/devices /sys/fs/cgroup
"""

in_force: list[str] = []  # What restricts this process, by name.


class SandboxError(Exception):
    """Report in a sentence what the kernel can't restrict."""


def harden_process() -> None:
    """Let no core dump hold a photo, and no process of the same user read this one's memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if IS_LINUX:
        # A core that is piped to a program ignores the limit.
        with suppress(OSError):
            prctl(PR_SET_DUMPABLE, 0)


def confine_worker(settings: Settings, counts: Path | None) -> str:
    """Enter the sandbox of a worker, and return what is in force.

    `counts` is the folder in which the workers count. Best called before anything was loaded:
    before ABI 8 Landlock leaves threads alone that run already. Raises `SandboxError`.
    """
    if settings.sandbox == "off":
        return "nothing: RAUT_SANDBOX is off"
    if settings.runtime == "keras":
        if settings.sandbox == "require":
            raise SandboxError("RAUT_SANDBOX is require, and Keras needs temporary files.")
        return "nothing: Keras needs temporary files"
    storage = urlsplit(settings.rate_limit_storage if settings.counts_clients else "memory://")
    servers = set()
    if storage.scheme in ("redis", "rediss"):
        servers.add((storage.hostname or "localhost", storage.port or REDIS_PORT))
    if settings.inference_url and settings.runtime == "remote":
        servers.add((settings.inference_url.host or "", settings.inference_url.port or 80))
    ports = {port for _, port in servers}
    if any(_needs_lookup(host) for host, _ in servers):
        # UDP is shut: the C library asks by TCP then, see resolv.conf(5).
        os.environ.setdefault("RES_OPTIONS", "use-vc")
        ports.add(DNS_PORT)
    shared = [Path(storage.path).parent] if storage.scheme == "shared" else []
    return enter(
        _list_readable(settings),
        [*shared, *([counts] if counts else []), Path("/dev/null")],
        ports,
        storage.scheme == "redis+unix",
        required=settings.sandbox == "require",
    )


def enter(
    readable: Iterable[Path],
    writable: Iterable[Path],
    ports: Iterable[int],
    unix_sockets: bool,
    required: bool = False,
) -> str:
    """Restrict this process for good, as far as the kernel can, and return what is in force.

    It may then read below `readable`, read and write files below `writable`, connect to TCP
    `ports` of any host, and to sockets of the file system where `unix_sockets` is true; no more.
    What is refused fails with `PermissionError`. Raises `SandboxError` where something of this is
    `required` and the kernel lacks it.
    """
    ports = list(ports)
    earlier = _count_threads() - 1
    abi = landlock.find_abi() if IS_LINUX else 0
    filters = IS_LINUX and seccomp.can_filter()
    if abi:
        try:
            landlock.restrict(abi, readable, writable, ports)
        except OSError:
            abi = 0
    if filters:
        try:
            seccomp.refuse(bool(ports), unix_sockets)
        except OSError:
            filters = False
    uncovered = earlier if 0 < abi < landlock.THREADS_ABI else 0
    description = _describe(abi, filters, uncovered)
    least = landlock.NETWORK_ABI if ports else landlock.TRUNCATE_ABI
    if required and not (abi >= least and filters and not uncovered):
        raise SandboxError(
            f"RAUT_SANDBOX is require, and of the sandbox there is {description}. It needs "
            f"Landlock ABI {least}, and seccomp on x86_64 or aarch64. Run it on a newer kernel, or "
            "set RAUT_SANDBOX=auto."
        )
    return description


def _describe(abi: int, filters: bool, uncovered: int) -> str:
    threads = f" (but for {uncovered} threads that ran before)" if uncovered else ""
    in_force[:] = names = [f"Landlock ABI {abi}{threads}"] * bool(abi) + ["seccomp"] * filters
    if not names:
        return "nothing: this kernel has neither Landlock nor seccomp"
    return " and ".join(names) if len(names) > 1 else f"{names[0]} only"


def _count_threads() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 1


def _needs_lookup(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host != "localhost"
    return False


def _list_readable(settings: Settings) -> list[Path]:
    """List what serving reads: Raut's own folders, Python's and the system's libraries."""
    python = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    # The checkout, and the working folder, are on the path with whatever else lies there.
    late = {each for each in sys.path if each and Path(each).resolve() not in (DATA, Path.cwd())}
    data = ["models", "static", "templates", "translations", "CITATION.cff", "asgi.py", "wsgi.py"]
    return [
        PACKAGE,
        *(DATA / name for name in data),
        settings.models,
        settings.studies,
        *([settings.samples] if settings.samples else []),
        *map(Path, sorted(python | late)),
        *map(Path, SYSTEM.split()),
    ]
