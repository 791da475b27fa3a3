"""Processes below one that a test started, from Linux's /proc."""

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# 127.0.0.1, by itself and mapped into IPv6, in words of 32 bits of little-endian processors.
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}


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
    """Return the addresses at which a process listens for TCP, as `LOOPBACK` writes them."""
    names = (_read_link(link) for link in (PROC / str(pid) / "fd").iterdir())
    sockets = {found[1] for name in names if (found := re.match(r"socket:\[(\d+)\]", name))}
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in (PROC / "net" / table).read_text().splitlines()[1:]
    ]
    # Fields: number, local address, remote address, state (0A listens), ..., inode as the tenth.
    return {line[1].split(":")[0] for line in lines if line[3] == "0A" and line[9] in sockets}


def _read_link(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # The process has closed it meanwhile.
        return ""
