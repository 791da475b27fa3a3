"""Call the kernel through libc's syscall(2) and prctl(2)."""

import ctypes
import os
from typing import Any

PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38

_libc = ctypes.CDLL(None, use_errno=True)


def system_call(number: int, *arguments: Any) -> int:
    """Make a system call, with ints as longs. Raises `OSError`."""
    longs = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *longs))


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process. Raises `OSError`."""
    rest = [ctypes.c_ulong(each) for each in (value, 0, 0, 0)]
    _check(_libc.prctl(option, *rest))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
