"""Keep the state of a run in its output folder, so that a killed run can be resumed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from app.batch.inputs import ArchiveError, Listing, Picture, Sampling
from app.batch.tables import Columns, Format, read_table, write_table
from app.batch.tracks import FilmTracks
from app.files import atomic_write, write_text
from app.vision.table import Row

RUN = "run.json"
PICTURES = "pictures.jsonl"


@dataclass(frozen=True)
class Description:
    """Describe what a run reads and how; a resumed run must match it.

    `paths` are absolute; `labels` maps each model to its label set and `models` to its SHA-256.
    """

    paths: list[str]
    effort: str
    film_effort: str
    sampling: Sampling
    labels: dict[str, str]
    models: dict[str, str]
    form: Format
    shard_size: int


@dataclass(frozen=True)
class Shard:
    """Hold consecutive pictures of a run, which are done together; `first` counts from 1."""

    number: int
    first: int
    pictures: list[Picture]


class Run:
    """Hold a run's pictures in shards, and know which shards are done.

    The folder holds the run's description (`run.json`), the pictures found when it began
    (`pictures.jsonl`), and a table for each finished shard. Each file is written atomically.
    """

    def __init__(
        self, folder: Path, listing: Listing, description: Description, columns: Columns
    ) -> None:
        """Begin a run over the pictures of `listing`, or resume the one in the folder.

        Raises `ArchiveError` where the folder holds another run, and as `listing` does.
        """
        self._folder = folder
        self._description = description
        self._columns = columns
        if (folder / RUN).exists():
            self._check_same()
        else:
            self._begin(listing)
        lines = (folder / PICTURES).read_text(encoding="utf-8").splitlines()
        self._pictures = [Picture(*json.loads(line)) for line in lines]
        self.count = len(self._pictures)

    def list_pending(self) -> list[Shard]:
        """Return the unfinished shards."""
        size = self._description.shard_size
        return [
            Shard(number, start + 1, self._pictures[start : start + size])
            for number, start in enumerate(range(0, self.count, size), start=1)
            if not self._part(number).exists()
        ]

    def record(self, number: int, rows: list[Row]) -> None:
        """Write the rows of a shard, which finishes it."""
        form = self._description.form
        atomic_write(
            self._part(number), lambda stream: write_table(form, stream, rows, self._columns)
        )

    def number_tracks(self) -> None:
        """Give the faces of films their numbers, as shards may have been read in any order."""
        if all(picture.frame is None for picture in self._pictures):
            return
        tracks = FilmTracks()
        for number, rows in self._read_shards():
            before = [row.get("track") for row in rows]
            tracks.number(rows)
            if [row.get("track") for row in rows] != before:
                self.record(number, rows)

    def read_rows(self) -> Iterator[Row]:
        """Read the rows of all finished shards, in the order of the pictures."""
        for _, rows in self._read_shards():
            yield from rows

    def _read_shards(self) -> Iterator[tuple[int, list[Row]]]:
        form = self._description.form
        for number in range(1, -(-self.count // self._description.shard_size) + 1):
            if self._part(number).exists():
                yield number, list(read_table(form, self._part(number), self._columns))

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}.{self._description.form}"

    def _begin(self, listing: Listing) -> None:
        if any(self._folder.glob("part-*")):
            raise ArchiveError(
                f"{self._folder} holds parts of a run, but no {RUN}. Choose another folder."
            )
        # A picture named twice is read once.
        found = {(each.location, each.offset, each.frame): each for each in listing.pictures()}
        lines = [json.dumps(astuple(picture)) + "\n" for picture in found.values()]
        write_text("".join(lines), self._folder / PICTURES)
        write_text(json.dumps(asdict(self._description), indent=2), self._folder / RUN)

    def _check_same(self) -> None:
        kept: dict[str, Any] = json.loads((self._folder / RUN).read_text(encoding="utf-8"))
        ours = asdict(self._description)
        differing = [name for name in ours if ours[name] != kept.get(name)]
        if differing:
            name = differing[0]
            raise ArchiveError(
                f"{self._folder} holds a run with other {name.replace('_', ' ')}: "
                f"{kept.get(name)}, not {ours[name]}. Repeat its options, or choose another folder."
            )


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Create a folder and lock it until the end of the block, or of the process.

    Raises `ArchiveError` where another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as stream:
        if os.name == "posix":  # Windows has no such locks.
            import fcntl

            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ArchiveError(
                    f"Another run is writing into {folder}. Wait for it, or choose another folder."
                ) from error
        yield
