"""Restrict files, TCP and signals by Landlock: landlock(7), and linux/landlock.h for its numbers.

Best effort: an older kernel knows fewer rights, and restricts those that it knows.
"""

import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from app.web.server.sandbox.libc import PR_SET_NO_NEW_PRIVS, prctl, system_call

# The same on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH, RULE_NET_PORT = 1, 2
RESTRICT_SELF_TSYNC = 1 << 3

# In the order of linux/landlock.h, and how many of them each ABI knows.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_REG, TRUNCATE, IOCTL_DEV = 1 << 8, 1 << 14, 1 << 15
FILE_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | MAKE_REG | REMOVE_FILE | TRUNCATE
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

BIND_TCP, CONNECT_TCP = 1, 2
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1, 2

NETWORK_ABI, TRUNCATE_ABI, THREADS_ABI = 4, 3, 8


def find_abi() -> int:
    """Return the version of the kernel's Landlock, 0 where it has none or may not be asked."""
    try:
        return system_call(CREATE_RULESET, None, 0, CREATE_RULESET_VERSION)
    except OSError:
        return 0


def restrict(
    abi: int, readable: Iterable[Path], writable: Iterable[Path], ports: Iterable[int]
) -> None:
    """Allow this thread, and those it starts, these paths and connections to these TCP ports only.

    From ABI 8 on all threads of the process. Paths that don't exist are left out. Raises `OSError`.
    """
    rights = (1 << FILE_RIGHTS_OF_ABI[min(abi, 5)]) - 1
    network = (BIND_TCP | CONNECT_TCP) if abi >= NETWORK_ABI else 0
    scopes = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL
    # A kernel rejects members that it doesn't know, unless they are left out or zero.
    attributes = struct.pack("=QQQ", rights, network, scopes if abi >= 6 else 0)
    ruleset = system_call(CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for paths, allowed in [(readable, READ), (writable, WRITE)]:
            for path in paths:
                _allow(ruleset, path, allowed & rights)
        if network:
            for port in ports:
                rule = struct.pack("=QQ", CONNECT_TCP, port)
                system_call(ADD_RULE, ruleset, RULE_NET_PORT, rule, 0)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        system_call(RESTRICT_SELF, ruleset, RESTRICT_SELF_TSYNC if abi >= THREADS_ABI else 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        system_call(ADD_RULE, ruleset, RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
