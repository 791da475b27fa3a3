"""Keep the folder in which the workers of one server count, in memory where the system has such.

prometheus_client maps its files into memory and leaves them holes: on a full file system the first
write to one ends the process by SIGBUS. So each worker's files are filled before.
"""

import fcntl
import os
import shutil
import struct
import tempfile
from functools import cache
from pathlib import Path

MEMORY = Path("/dev/shm")  # nosec B108
PREFIX = "raut-counts-"
# As prometheus_client names a process's files. All labels that there are need a fifth of it.
FILES = ("counter_{}.db", "histogram_{}.db", "gauge_livesum_{}.db")
RESERVED_BYTES = 1 << 18


def memory_folder() -> Path:
    """Return the system's folder in memory, or that of temporary files."""
    return MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())


@cache
def open_counts() -> Path:
    """Return the folder of this server, which this process and its children hold while they live.

    It is made at the first call, so that a reload of the configuration goes on counting. Folders of
    servers that were killed are removed then. Raises `OSError`.
    """
    parent = memory_folder()
    for left in parent.glob(f"{PREFIX}*"):
        _remove_unless_held(left)
    while True:
        made = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
        # Stays open: the lock is let go when the last process that inherited it has ended.
        fcntl.flock(os.open(made, os.O_RDONLY), fcntl.LOCK_EX)
        if made.is_dir():  # else another server took it for abandoned just before
            return made


def reserve(folder: Path, pid: int) -> bool:
    """Take the space that a worker's counts need, before prometheus_client is imported.

    Returns False where there isn't enough: the worker can then only count for itself.
    """
    files = [folder / name.format(pid) for name in FILES]
    try:
        for file in files:
            file.write_bytes(bytes(RESERVED_BYTES))
    except OSError:
        for file in files:
            file.unlink(missing_ok=True)
        return False
    return True


def release(folder: Path, pid: int) -> None:
    """Keep of a worker that has ended only what it has counted, and none of its gauges."""
    counter, histogram, gauge = (folder / name.format(pid) for name in FILES)
    gauge.unlink(missing_ok=True)
    for file in (counter, histogram):
        if file.exists():
            with file.open("r+b") as opened:
                # The files begin with the number of bytes in use, 0 where nothing was counted.
                opened.truncate(max(8, *struct.unpack("i", opened.read(4))))


def _remove_unless_held(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # It is another user's, or gone.
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
