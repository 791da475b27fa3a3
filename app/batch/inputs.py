"""List and read pictures, in folders, tar archives and object stores, and the frames of films."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from app.errors import RautError, explain_missing

if TYPE_CHECKING:
    from app.vision.imaging.film import Film

# Endings only choose what is tried; the content determines the format.
PICTURE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jpg_large", ".png", ".webp", ".heic", ".heif", ".hif"),
    *(".avif", ".gif", ".bmp", ".dib", ".tif", ".tiff"),
}
FILM_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".3gp", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".vob"),
    *(".ts", ".mts", ".m2ts", ".wmv", ".asf", ".flv", ".ogv", ".mxf"),
}
SUFFIXES = PICTURE_SUFFIXES | FILM_SUFFIXES
# Folders in which network stores and file managers keep small copies; others' names are hidden.
THUMBNAIL_FOLDERS = {"@eaDir"}
COMPRESSED = (".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip")
END_OF_TAR = bytes(tarfile.BLOCKSIZE)


class ArchiveError(Exception):
    """Say why inputs can't be listed or a run can't go on, and what to do."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Locate a picture.

    `name` is its name in the results. `location` is an absolute path or a URL; the picture is the
    whole file, or in a tar archive the `length` bytes from `offset`. Of a film it is frame number
    `frame`, from 1, at `time_s` seconds, and the frame read before it is at `before_s`.
    """

    name: str
    location: str
    offset: int = 0
    length: int | None = None
    frame: int | None = None
    time_s: float = 0.0
    before_s: float | None = None


@dataclass(frozen=True)
class Sampling:
    """Say which frames of a film are read: the first of each `1 / fps` s, from `start` to `end`."""

    fps: float = 5.0
    start: float = 0.0
    end: float | None = None


class Listing:
    """List pictures, and keep what is left out.

    That is in `hidden`, the names of hidden files and folders, and in `unreadable`, the folders and
    films that can't be read, with the reason.
    """

    def __init__(self, paths: Iterable[Path], sampling: Sampling) -> None:
        """Name folders, tar archives (.tar), lists of URLs (.txt), photos and films.

        Films give the frames that `sampling` selects.
        """
        self.hidden: list[str] = []
        self.unreadable: list[str] = []
        self._paths = paths
        self._sampling = sampling

    def pictures(self) -> list[Picture]:
        """Return the pictures in the order of the paths, within a folder alphabetically.

        Raises `ArchiveError` where a path doesn't exist, an archive is damaged or compressed, a
        line is no readable URL, films can't be read here, or there is no picture.
        """
        pictures: list[Picture] = []
        for path in self._paths:
            if path.is_dir():
                pictures += self._list_folder(path)
            elif not path.is_file():
                raise ArchiveError(f"{printable(str(path))}: there is no such file or folder.")
            elif path.suffix.lower() == ".txt":
                pictures += self._list_urls(path)
            else:
                pictures += self._list_file(str(path), str(path.absolute()))
        if not pictures:
            raise ArchiveError(
                " ".join(f"{reason}." for reason in self.unreadable)
                or "There is no picture to read: no file that ends in "
                f"{', '.join(sorted(SUFFIXES))}. See --verbose for what was passed over."
            )
        return pictures

    def _list_folder(self, top: Path) -> Iterator[Picture]:
        def note(error: OSError) -> None:
            self.unreadable.append(printable(f"{error.filename}: {error.strerror}"))

        found: list[Path] = []
        for folder, folders, files in os.walk(top, onerror=note):
            hidden = {name for name in folders + files if _is_hidden(name)}
            self.hidden.extend(printable(str(Path(folder, name))) for name in sorted(hidden))
            folders[:] = [name for name in folders if name not in hidden]
            photos = (Path(folder, name) for name in files if name not in hidden)
            found += [each for each in photos if each.suffix.lower() in SUFFIXES]
        for path in filter(Path.is_file, sorted(found)):
            try:
                yield from self._list_file(str(path), str(path.absolute()))
            except ArchiveError as error:  # It is no reason to leave the photos unread.
                reason = f"Films in {printable(str(top))}: {error}"
                if reason not in self.unreadable:
                    self.unreadable.append(reason)

    def _list_urls(self, path: Path) -> Iterator[Picture]:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise ArchiveError(f"{path} is no list of URLs in UTF-8.") from error
        for number, line in enumerate(lines, start=1):
            url = line.strip()
            if url and not url.startswith("#"):
                _check_url(url, f"{path}, line {number}")
                yield from self._list_file(url, url)

    def _list_file(self, name: str, location: str) -> Iterator[Picture]:
        if PurePath(name).suffix.lower() in FILM_SUFFIXES:
            yield from self._list_film(printable(name), location)
        elif name.lower().endswith(COMPRESSED):
            raise ArchiveError(
                f"{printable(name)} is compressed, which allows no random access. Unpack it, or "
                "pack it as .tar."
            )
        elif name.lower().endswith(".tar"):
            try:
                with _open(location) as stream:
                    yield from self._list_members(stream, name, location)
            except (tarfile.TarError, OSError) as error:
                raise ArchiveError(
                    f"{printable(name)} can't be read as a tar archive: {error}"
                ) from error
        else:
            yield Picture(printable(name), location)

    def _list_film(self, name: str, location: str) -> Iterator[Picture]:
        try:
            before = None
            for frame, time in open_film(location).list_samples(*astuple(self._sampling)):
                yield Picture(name, location, frame=frame, time_s=round(time, 6), before_s=before)
                before = round(time, 6)
        except (RautError, OSError):
            yield Picture(name, location, frame=1)  # Reading it tells what is wrong.

    def _list_members(self, stream: IO[bytes], name: str, location: str) -> Iterator[Picture]:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            while member := archive.next():
                inner, path = PurePath(member.name), printable(f"{name}/{member.name}")
                suffix = inner.suffix.lower()
                if member.isfile() and suffix in SUFFIXES:
                    if any(map(_is_hidden, inner.parts)):
                        self.hidden.append(path)
                    elif suffix in FILM_SUFFIXES:
                        reason = "a film in an archive can't be read; unpack it"
                        self.unreadable.append(f"{path}: {reason}")
                    else:
                        yield Picture(path, location, member.offset_data, member.size)
                archive.members = []  # type: ignore[attr-defined]  # Else all members stay in memory.
            # tarfile takes a damaged header for the end of the archive.
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE) != END_OF_TAR:
                raise tarfile.ReadError(
                    f"it breaks off or is damaged at byte {archive.offset}. Pack it again."
                )


def _is_hidden(name: str) -> bool:
    return (name.startswith(".") and name not in (".", "..")) or name in THUMBNAIL_FOLDERS


def printable(name: str) -> str:
    """Return a file name as text, with bytes that aren't UTF-8 escaped as \\xe9."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_picture(picture: Picture) -> bytes:
    """Read a picture's bytes. Raises `OSError`."""
    start, length = picture.offset, picture.length
    if "://" not in picture.location:
        with Path(picture.location).open("rb") as stream:
            stream.seek(start)
            return stream.read(-1 if length is None else length)
    with _faults_as_os_error():
        filesystem, path = _resolve(picture.location)
        part = {} if length is None else {"start": start, "end": start + length}
        content: bytes = filesystem.cat_file(path, **part)
        return content


def open_film(location: str) -> Film:
    """Open a film. Raises `ArchiveError` where PyAV is missing, `OSError`, and as `Film` does."""
    try:
        from app.vision.imaging.film import Film
    except ImportError as error:
        raise ArchiveError(explain_missing("a film", error, "films")) from error
    if "://" not in location:
        return Film(location)
    with _faults_as_os_error():
        filesystem, path = _resolve(location)
        return Film(filesystem.open(path, "rb"))


@contextmanager
def _open(location: str) -> Iterator[IO[bytes]]:
    if "://" not in location:
        with Path(location).open("rb") as stream:
            yield stream
        return
    filesystem, path = _resolve(location)
    with _faults_as_os_error(), filesystem.open(path, "rb") as stream:
        yield stream


def _check_url(url: str, where: str) -> None:
    if "://" not in url:
        raise ArchiveError(f"{where}: {url!r} is no URL such as s3://bucket/a.jpg.")
    try:
        import fsspec
    except ImportError as error:
        raise ArchiveError(explain_missing("a list of URLs", error)) from error
    try:
        fsspec.get_filesystem_class(url.split("://")[0].split("::")[-1])
    except (ValueError, ImportError) as error:
        raise ArchiveError(f"{where}: {url} can't be read here. {error}.") from error


def _resolve(url: str) -> tuple[Any, str]:
    import fsspec

    filesystem, path = fsspec.url_to_fs(url)
    return filesystem, path


@contextmanager
def _faults_as_os_error() -> Iterator[None]:
    """Raise any fault of an object store as `OSError`: each kind has exceptions of its own."""
    try:
        yield
    except (OSError, tarfile.TarError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
