"""Write files atomically."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replace a file atomically and durably; a crash leaves the previous file.

    `write` gets a binary stream to a temporary file, which is synced and renamed.
    """
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
    if os.name != "posix":  # Windows can't sync folders.
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(text: str, target: Path | None) -> None:
    """Write a file atomically, or to the standard output where the target is None or "-"."""
    if target is None or str(target) == "-":
        sys.stdout.write(text)
    elif target.exists() and not target.is_file():  # a pipe, or a device
        target.write_text(text, encoding="utf-8")
    else:
        atomic_write(target.resolve(), lambda stream: stream.write(text.encode()))
