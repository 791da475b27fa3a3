"""Write files atomically."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Replace a file atomically and durably at the end of the block; a crash leaves the previous.

    Yields a binary stream to a temporary file, which is synced and renamed.
    """
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as stream:
        yield stream
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


def atomic_write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replace a file as `replacing` does with what `write` writes into its stream."""
    with replacing(path) as stream:
        write(stream)


@contextmanager
def open_text(target: Path | None) -> Iterator[IO[str]]:
    """Open a file to be replaced, or the standard output where the target is None or "-"."""
    if target is None or str(target) == "-":
        yield sys.stdout
    elif target.exists() and not target.is_file():  # a pipe, or a device
        with target.open("w", encoding="utf-8") as device:
            yield device
    else:
        with replacing(target.resolve()) as stream:
            text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
            yield text
            text.detach()


def write_text(text: str, target: Path | None) -> None:
    """Write a file atomically, or to the standard output where the target is None or "-"."""
    with open_text(target) as stream:
        stream.write(text)
