"""Make the allocator give a large picture's memory back."""

import ctypes

M_MMAP_THRESHOLD = -3  # of malloc.h; see mallopt(3)
RETURNED_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Have blocks from a megabyte on returned to the system as soon as they are free.

    glibc raises that limit to 32 MB by itself, and keeps what is smaller for the thread that
    had it: each of a server's threads would hold some hundred MB of its largest photo. To be called
    once, before the threads start; elsewhere than on glibc it does nothing.
    """
    try:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, RETURNED_BYTES)
    except (AttributeError, OSError, TypeError):  # another C library, macOS, Windows
        return
