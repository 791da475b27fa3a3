"""Write files that a crash can't leave by half."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it is there whole or not at all.

    `write` gets a binary stream. The bytes go to a file aside, are synced, and take the name at
    the end; a crash at any moment leaves the file of before.
    """
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(text: str, target: Path | None) -> None:
    """Write a whole file, or to the standard output where none, or "-", is named."""
    if target is None or str(target) == "-":
        sys.stdout.write(text)
    elif target.exists() and not target.is_file():  # a pipe, or a device
        target.write_text(text, encoding="utf-8")
    else:
        atomic_write(target.resolve(), lambda stream: stream.write(text.encode()))
