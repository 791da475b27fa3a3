"""Keep a run over an archive in a folder, so that it goes on where it was killed."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import IO, Any

from app.batch.inputs import ArchiveError, Picture, list_pictures
from app.batch.rows import Row
from app.batch.tables import Columns, Format, read_table, write_table
from app.files import atomic_write

RUN = "run.json"
PICTURES = "pictures.jsonl"


@dataclass(frozen=True)
class Description:
    """Say what a run reads and how; one that goes on must be of the same.

    `paths` are absolute; `labels` names the head by which each model answers, and `models` maps
    each model that reads to its SHA-256.
    """

    paths: list[str]
    effort: str
    labels: dict[str, str]
    models: dict[str, str]
    form: Format
    shard_size: int


@dataclass(frozen=True)
class Shard:
    """Hold a part of a run's pictures, which is done as a whole.

    The pictures follow each other in the run, where the first has the number `first`, from 1 on.
    """

    number: int
    first: int
    pictures: list[Picture]


class Run:
    """Know a run's pictures, in shards, and which of these are done.

    The folder holds what the run is (`run.json`), its pictures as they were found when it began
    (`pictures.jsonl`), and a file for each shard that is done. Each is there whole or not at all.
    """

    def __init__(
        self, folder: Path, paths: Iterable[Path], description: Description, columns: Columns
    ) -> None:
        """Begin a run over what `paths` name, or go on with the one that the folder holds.

        Raises `ArchiveError` where that is another one, and as `list_pictures` does.
        """
        self._folder = folder
        self._description = description
        self._columns = columns
        if (folder / RUN).exists():
            self._check_same()
        else:
            self._begin(paths)
        lines = (folder / PICTURES).read_text(encoding="utf-8").splitlines()
        self._pictures = [Picture(*json.loads(line)) for line in lines]
        self.count = len(self._pictures)

    def list_pending(self) -> list[Shard]:
        """Return the shards that aren't done."""
        size = self._description.shard_size
        return [
            Shard(number, start + 1, self._pictures[start : start + size])
            for number, start in enumerate(range(0, self.count, size), start=1)
            if not self._part(number).exists()
        ]

    def keep(self, number: int, rows: list[Row]) -> None:
        """Write the rows of a shard; from then on it is done."""
        form = self._description.form
        atomic_write(
            self._part(number), lambda stream: write_table(form, stream, rows, self._columns)
        )

    def read_rows(self) -> Iterator[Row]:
        """Read the rows of all shards that are done, in the order of the pictures."""
        form = self._description.form
        for number in range(1, -(-self.count // self._description.shard_size) + 1):
            if self._part(number).exists():
                yield from read_table(form, self._part(number), self._columns)

    def _part(self, number: int) -> Path:
        """Return the file of a shard."""
        return self._folder / f"part-{number:05d}.{self._description.form}"

    def _begin(self, paths: Iterable[Path]) -> None:
        """Find the pictures and keep their list, then what the run is."""
        if any(self._folder.glob("part-*")):
            raise ArchiveError(
                f"{self._folder} holds parts of a run, but no {RUN} that says of which. "
                "Choose another folder."
            )
        pictures = list_pictures(paths)

        def write(stream: IO[bytes]) -> None:
            for picture in pictures:
                stream.write(json.dumps(astuple(picture)).encode() + b"\n")

        atomic_write(self._folder / PICTURES, write)
        text = json.dumps(asdict(self._description), indent=2)
        atomic_write(self._folder / RUN, lambda stream: stream.write(text.encode()))

    def _check_same(self) -> None:
        """Refuse to go on with a run of other pictures, models or settings."""
        kept: dict[str, Any] = json.loads((self._folder / RUN).read_text(encoding="utf-8"))
        ours = asdict(self._description)
        differing = [name for name in ours if ours[name] != kept.get(name)]
        if differing:
            name = differing[0]
            raise ArchiveError(
                f"{self._folder} holds a run with other {name.replace('_', ' ')}: "
                f"{kept.get(name)}, not {ours[name]}. Call it as before, or choose another folder."
            )


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a folder and let no other process run into it; a killed one no longer holds it.

    Raises `ArchiveError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as stream:
        if os.name == "posix":  # Windows has no such locks.
            import fcntl

            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ArchiveError(
                    f"Another run is writing into {folder}. Wait for its end, or choose another."
                ) from error
        yield
