"""Refuse system calls by a filter: seccomp(2), and Linux's asm/unistd.h for their numbers.

Landlock leaves out what this covers: UDP and other protocols, executing through memory, the modes
and times of files. It holds for all threads of the process. What is refused fails with EPERM.
"""

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from app.web.server.sandbox.libc import PR_SET_NO_NEW_PRIVS, prctl, system_call

SET_MODE_FILTER = 1
FILTER_FLAG_TSYNC = 1
RET_ALLOW, RET_ERRNO = 0x7FFF0000, 0x00050000

# Of each machine: AUDIT_ARCH_*, and the column of the numbers below.
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
SECCOMP = (317, 277)
# Newer calls don't exist here, as on an older kernel, for which libraries are prepared.
NEWEST = 450

REFUSED = {
    # Other programs and processes.
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "tkill": (200, 130),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # Ways around a filter, and the kernel's own matters.
    "bind": (49, 200),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "iopl": (172, None),
    "ioperm": (173, None),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # What Landlock leaves open of files: sizes before its ABI 3, owners, modes, times, attributes.
    "truncate": (76, 45),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    # Memory and queues that other processes see.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "semget": (64, 190),
    "semop": (65, 193),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
CLONE, CLONE3 = (56, 220), (435, 435)
CONNECT, LISTEN = (42, 203), (50, 201)
SOCKET, SOCKETPAIR = (41, 198), (53, 199)
SENDTO, SENDMSG, SENDMMSG = (44, 206), (46, 211), (307, 269)
KILL, TGKILL, RT_SIGQUEUEINFO = (62, 129), (234, 131), (129, 138)
IOCTL, PRLIMIT64, UTIMENSAT = (16, 29), (302, 261), (280, 88)

CLONE_THREAD = 0x10000
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
SOCK_STREAM, SOCK_TYPE_MASK = 1, 0xF
IPPROTO_TCP = 6
MSG_FASTOPEN = 0x20000000
# Type into the terminal from which the server was started.
TIOCSTI, TIOCLINUX = 0x5412, 0x541C

# Of linux/bpf_common.h.
LOAD, AND, JUMP_EQUAL, JUMP_GREATER, JUMP, RETURN = 0x20, 0x54, 0x15, 0x25, 0x05, 0x06
# Of `struct seccomp_data`; the arguments follow.
NUMBER_OFFSET, ARCHITECTURE_OFFSET, ARGUMENTS_OFFSET = 0, 4, 16

Numbers = tuple[int | None, int | None]
Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


@dataclass(frozen=True)
class Check:
    """Allow a call only where some bits of an argument's lower half have one of some values.

    `word` is 0 for the lower half of the first argument, 1 for its upper half, and so on.
    """

    word: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    negated: bool = False


def can_filter() -> bool:
    """Return whether the numbers of this machine's calls are known here."""
    return platform.machine() in MACHINES and sys.byteorder == "little"


def refuse(connects: bool, unix_sockets: bool) -> None:
    """Install the filter for all threads. Raises `OSError`.

    `connects` allows TCP connections, whose ports are for Landlock to restrict.
    """
    program = _build_program(*MACHINES[platform.machine()], connects, unix_sockets)
    instructions = b"".join(struct.pack("=HBBI", *each) for each in program)
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    header = struct.pack("HP", len(program), ctypes.addressof(buffer))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    number = SECCOMP[MACHINES[platform.machine()][1]]
    if thread := system_call(number, SET_MODE_FILTER, FILTER_FLAG_TSYNC, header):
        raise OSError(errno.EBUSY, f"thread {thread} has a filter of its own")


def _build_program(
    architecture: int, column: int, connects: bool, unix_sockets: bool
) -> list[Instruction]:
    checked: list[tuple[Numbers, list[Check]]] = [
        (CLONE, [Check(0, (CLONE_THREAD,), CLONE_THREAD)]),
        (SOCKETPAIR, [Check(0, (AF_UNIX,))]),  # as asyncio wakes its loop
        # Opens a TCP connection without connect(2).
        (SENDTO, [Check(6, (0,), MSG_FASTOPEN)]),
        (SENDMSG, [Check(4, (0,), MSG_FASTOPEN)]),
        (SENDMMSG, [Check(6, (0,), MSG_FASTOPEN)]),
        *((call, [Check(0, (os.getpid(),))]) for call in (KILL, TGKILL, RT_SIGQUEUEINFO)),
        (IOCTL, [Check(2, (TIOCSTI, TIOCLINUX), negated=True)]),
        (PRLIMIT64, [Check(0, (0,))]),
        # Of open files only, as gunicorn's workers show that they live.
        (UTIMENSAT, [Check(2, (0,)), Check(3, (0,))]),
    ]
    families = (AF_INET, AF_INET6) * connects + (AF_UNIX,) * unix_sockets
    refused: list[Numbers] = list(REFUSED.values())
    if families:
        stream = Check(2, (SOCK_STREAM,), SOCK_TYPE_MASK)
        checked.append((SOCKET, [Check(0, families), stream, Check(4, (0, IPPROTO_TCP))]))
    else:
        refused += [SOCKET, CONNECT]

    program: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE_OFFSET),
        (JUMP_EQUAL, 1, 0, architecture),
        _fail(errno.EPERM),
        (LOAD, 0, 0, NUMBER_OFFSET),
        (JUMP_GREATER, 0, 1, NEWEST),
        _fail(errno.ENOSYS),
    ]
    # The arguments of clone3 lie where no filter sees them; glibc then takes clone. A socket that
    # listens already goes on when listen(2) does nothing, and a new one never begins.
    plain = [(numbers, errno.EPERM) for numbers in refused] + [(CLONE3, errno.ENOSYS), (LISTEN, 0)]
    for numbers, code in plain:
        if (number := numbers[column]) is not None:
            program += [(JUMP_EQUAL, 0, 1, number), _fail(code)]
    for numbers, checks in checked:
        if (number := numbers[column]) is not None:
            body = [each for check in checks for each in _write_check(check)]
            program += [(JUMP_EQUAL, 0, len(body) + 1, number), *body, (RETURN, 0, 0, RET_ALLOW)]
    return [*program, (RETURN, 0, 0, RET_ALLOW)]


def _write_check(check: Check) -> Iterator[Instruction]:
    """Fall through where the call may go on."""
    yield (LOAD, 0, 0, ARGUMENTS_OFFSET + 4 * check.word)
    yield (AND, 0, 0, check.mask)
    count = len(check.values)
    for index, value in enumerate(check.values):
        yield (JUMP_EQUAL, count - index, 0, value)
    if check.negated:
        yield (JUMP, 0, 0, 1)
    yield _fail(errno.EPERM)


def _fail(code: int) -> Instruction:
    return (RETURN, 0, 0, RET_ERRNO | code)
