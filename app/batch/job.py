"""Run `raut analyze`: photos in one pass, or an archive in shards that can be resumed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from app.batch.film_outputs import annotated_film, captions
from app.batch.inputs import FILM_SUFFIXES, ArchiveError, Listing, Sampling
from app.batch.progress import Progress
from app.batch.ray_executor import read_by_ray
from app.batch.report import Summary, render_report
from app.batch.rows import PictureReader
from app.batch.runs import Description, Run, lock_folder
from app.batch.tables import DIALECTS, Format, check_format, json_list, start_csv
from app.batch.tracks import FilmTracks
from app.files import open_text, write_text
from app.ray_session import ExecutorName
from app.settings import Settings, count_processors
from app.vision.models.selection import split_names
from app.vision.table import Row

SHARD_SIZE = 64  # A worker that dies loses about two seconds of work.


@dataclass(frozen=True)
class BatchJob:
    """Hold the options of `raut analyze`. Raises `click.UsageError` for a bad combination."""

    paths: tuple[Path, ...]
    as_json: Path | None
    as_csv: Path | None
    models: str | None
    effort: str | None
    out: Path | None
    engine: ExecutorName
    form: Format
    report: Path | None
    workers: int | None
    shard_size: int
    csv_dialect: str
    fps: float
    span: tuple[float, float | None]
    vtt: Path | None
    annotated: Path | None
    verbose: bool

    @property
    def sampling(self) -> Sampling:
        """Return which frames of films are read."""
        return Sampling(self.fps, *self.span)

    def __post_init__(self) -> None:
        if self.out and (self.as_json or self.as_csv):
            raise click.UsageError("--out replaces --json and --csv; see --format.")
        if not self.out and (self.engine != "local" or self.report):
            raise click.UsageError("--engine and --report need a folder: --out.")
        of_film = [path.suffix.lower() in FILM_SUFFIXES for path in self.paths] == [True]
        if (self.vtt or self.annotated) and not of_film:
            raise click.UsageError("--vtt and --annotated are of one film.")


def run_job(settings: Settings, job: BatchJob) -> int:
    """Analyze the pictures, write the results, and return the exit status.

    The status is 1 where a folder couldn't be read, or without `out` a picture. Raises
    `ArchiveError`, `RayError`, `ModelError`, and `RautError` for an unknown model.
    """
    if job.out:
        check_format(job.form)
    reader = PictureReader(
        settings, job.effort, split_names(job.models), job.workers or count_processors()
    )
    return _read_archive(reader, job, job.out) if job.out else _read_photos(reader, job)


def _read_photos(reader: PictureReader, job: BatchJob) -> int:
    listing = Listing(job.paths, job.sampling)
    pictures = listing.pictures()
    _tell(listing, job.verbose)
    progress = Progress(len(pictures), in_pipes=False)
    tracks = FilmTracks()
    failed: list[dict[str, Any]] = []
    with ExitStack() as stack:
        write_rows = [stack.enter_context(_film_outputs(job))]
        if job.as_csv:
            stream = stack.enter_context(open_text(job.as_csv))
            columns = [name for name in reader.columns if name != "picture"]
            write_rows.append(start_csv(stream, columns, DIALECTS[job.csv_dialect]))
        write_answer = None
        if job.as_json or not job.as_csv:
            write_answer = stack.enter_context(
                json_list(stack.enter_context(open_text(job.as_json)))
            )
        for number, answer in enumerate(reader.analyze(pictures), start=1):
            rows = reader.list_rows(number, answer)
            tracks.number(rows)
            for write in write_rows:
                write(rows)
            if answer.get("truncated"):
                count = len(answer["faces"])
                click.echo(f"{answer['file']}: only the {count} surest faces are read.", err=True)
            if "error" in answer:
                failed.append(answer)
            elif write_answer:
                if "time_s" in answer:
                    for face, row in zip(answer["faces"], rows, strict=False):
                        face["track"] = row["track"]
                write_answer(answer)
            progress.advance(1)
    for answer in failed:
        click.echo(f"{answer['file']}: {answer['error_detail']}", err=True)
    return 1 if failed or listing.unreadable else 0


@contextmanager
def _film_outputs(job: BatchJob) -> Iterator[Callable[[list[Row]], None]]:
    """Yield what takes the rows of one frame after another into --vtt and --annotated."""
    with ExitStack() as stack:
        writers: list[Callable[[list[Row]], None]] = []
        if job.vtt:
            stream = stack.enter_context(open_text(job.vtt))
            writers.append(stack.enter_context(captions(stream, 1 / job.fps)))
        if job.annotated:
            film = str(job.paths[0].absolute())
            writers.append(stack.enter_context(annotated_film(film, job.annotated, job.sampling)))

        def write(rows: list[Row]) -> None:
            for each in writers:
                each(rows)

        yield write


def _tell(listing: Listing, verbose: bool) -> None:
    for folder in listing.unreadable:
        click.echo(f"{folder}. Its pictures are left out.", err=True)
    for name in listing.hidden if verbose else ():
        click.echo(f"{name}: hidden, left out.", err=True)


def _read_archive(reader: PictureReader, job: BatchJob, folder: Path) -> int:
    description = Description(
        paths=[str(path.absolute()) for path in job.paths],
        effort=reader.effort,
        film_effort=reader.film_effort,
        sampling=job.sampling,
        labels=reader.labels,
        models=reader.models,
        form=job.form,
        shard_size=job.shard_size,
    )
    try:
        with lock_folder(folder):
            listing = Listing(job.paths, job.sampling)
            run = Run(folder, listing, description, reader.columns)
            _tell(listing, job.verbose)
            pending = run.list_pending()
            sizes = {shard.number: len(shard.pictures) for shard in pending}
            progress = Progress(run.count, run.count - sum(sizes.values()))
            read = (
                read_by_ray(reader, pending, job.workers)
                if job.engine == "ray"
                else ((each.number, reader.read(each.first, each.pictures)) for each in pending)
            )
            for number, rows in read:
                run.record(number, rows)
                progress.advance(sizes[number])
            run.number_tracks()
            summary = Summary(run.read_rows())
            with _film_outputs(job) as write:
                for _, image in groupby(run.read_rows(), key=lambda row: row["picture"]):
                    write(list(image))
    except OSError as error:
        raise ArchiveError(f"{folder} can't be written: {error}") from error
    if job.report:
        write_text(render_report(summary, description), job.report)
    click.echo(
        f"{folder} holds {summary.pictures:,} pictures with {summary.faces:,} faces; "
        f"{summary.errors.counts.total():,} pictures couldn't be read.",
        err=True,
    )
    return 1 if listing.unreadable else 0
