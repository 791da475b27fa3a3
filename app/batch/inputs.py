"""List an archive's pictures, and read each: from folders, tar archives and object stores."""

import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from app.optional_packages import explain_missing

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
COMPRESSED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")
END_OF_TAR = bytes(tarfile.BLOCKSIZE)


class ArchiveError(Exception):
    """End a run over an archive; the text says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Say where a picture lies.

    `name` is what its rows call it. `place` is an absolute path or a URL; the picture is the
    whole of it, or in a tar archive `length` bytes from `offset` on.
    """

    name: str
    place: str
    offset: int = 0
    length: int | None = None


def find_photos(folder: Path) -> list[Path]:
    """List the photos in a folder and its folders, by path."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
    return sorted(path for path in found if path.is_file())


def list_pictures(paths: Iterable[Path]) -> list[Picture]:
    """List the pictures of folders, tar archives (.tar), lists of URLs (.txt) and photos.

    The order is that of the paths, inside a folder that of its paths, and a picture named twice
    is listed once. Raises `ArchiveError` where a path isn't there, an archive is damaged or
    compressed, or a line is no URL that can be read here.
    """
    found = (picture for path in paths for picture in _list(path))
    return list({(picture.place, picture.offset): picture for picture in found}.values())


def write_out(name: str) -> str:
    """Return a name as text: bytes that are no UTF-8 are written as \\xe9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_picture(picture: Picture) -> bytes:
    """Read a picture's bytes. Raises `OSError`."""
    if "://" in picture.place:
        return _fetch(picture)
    with Path(picture.place).open("rb") as stream:
        stream.seek(picture.offset)
        return stream.read(-1 if picture.length is None else picture.length)


def _list(path: Path) -> Iterator[Picture]:
    """List what one path of the command line names."""
    if path.is_dir():
        for photo in find_photos(path):
            yield Picture(write_out(str(photo)), str(photo.absolute()))
    elif not path.is_file():
        raise ArchiveError(f"{path}: there is no such file or folder.")
    elif path.suffix.lower() == ".txt":
        yield from _list_urls(path)
    else:
        yield from _list_file(str(path), str(path.absolute()))


def _list_urls(path: Path) -> Iterator[Picture]:
    """List the pictures and tar archives that a text file names, a URL a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ArchiveError(f"{path} is no list of URLs in UTF-8.") from error
    for number, line in enumerate(lines, start=1):
        url = line.strip()
        if url and not url.startswith("#"):
            _check_url(url, f"{path}, line {number}")
            yield from _list_file(url, url)


def _list_file(name: str, place: str) -> Iterator[Picture]:
    """List a photo, or the photos of a tar archive."""
    if name.lower().endswith(COMPRESSED):
        raise ArchiveError(
            f"{name} is compressed, so that no picture can be read out of its middle. "
            "Unpack it, or pack it as .tar."
        )
    if not name.lower().endswith(".tar"):
        yield Picture(write_out(name), place)
        return
    try:
        with _open(place) as stream:
            yield from _list_members(stream, name, place)
    except (tarfile.TarError, OSError) as error:
        raise ArchiveError(f"{name} can't be read as a tar archive: {error}") from error


def _list_members(stream: IO[bytes], name: str, place: str) -> Iterator[Picture]:
    """List the photos of an opened tar archive; only its headers are read."""
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        while member := archive.next():
            if member.isfile() and Path(member.name).suffix.lower() in PICTURE_SUFFIXES:
                written = write_out(f"{name}/{member.name}")
                yield Picture(written, place, member.offset_data, member.size)
            archive.members = []  # type: ignore[attr-defined]  # They are all kept else.
        # Behind a damaged header tarfile stops as it does at the end.
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != END_OF_TAR:
            raise tarfile.ReadError(
                f"it breaks off or is damaged at byte {archive.offset}. Pack it anew."
            )


@contextmanager
def _open(place: str) -> Iterator[IO[bytes]]:
    """Open a file or what a URL names, to be read from any place."""
    if "://" not in place:
        with Path(place).open("rb") as stream:
            yield stream
        return
    filesystem, path = _resolve(place)
    with _told_as_os_error(), filesystem.open(path, "rb") as stream:
        yield stream


def _fetch(picture: Picture) -> bytes:
    """Read a picture from an object store, no more than its own bytes."""
    with _told_as_os_error():
        filesystem, path = _resolve(picture.place)
        if picture.length is None:
            whole: bytes = filesystem.cat_file(path)
            return whole
        end = picture.offset + picture.length
        part: bytes = filesystem.cat_file(path, start=picture.offset, end=end)
        return part


def _check_url(url: str, where: str) -> None:
    """Refuse a line that is no URL, and a store that can't be read with what is installed."""
    protocol = url.split("://")[0].split("::")[-1]
    if "://" not in url:
        raise ArchiveError(
            f"{where}: {url!r} is no URL. Write one a line, such as s3://bucket/a.jpg."
        )
    try:
        import fsspec
    except ImportError as error:
        raise ArchiveError(explain_missing("a list of URLs", error)) from error
    try:
        fsspec.get_filesystem_class(protocol)
    except (ValueError, ImportError) as error:
        raise ArchiveError(f"{where}: {url} can't be read here. {error}.") from error


def _resolve(url: str) -> tuple[Any, str]:
    """Return a URL's store and the path in it."""
    import fsspec

    filesystem, path = fsspec.url_to_fs(url)
    return filesystem, path


@contextmanager
def _told_as_os_error() -> Iterator[None]:
    """Tell any fault of a store as `OSError`: each kind of store has exceptions of its own."""
    try:
        yield
    except (OSError, tarfile.TarError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
