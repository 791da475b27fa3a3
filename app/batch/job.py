"""Run `raut analyze`: photos in one pass, or an archive in shards that can be resumed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from app.batch.inputs import ArchiveError, PassedOver, list_pictures
from app.batch.progress import Progress
from app.batch.ray_executor import read_by_ray
from app.batch.report import Summary, render_report
from app.batch.rows import PictureReader
from app.batch.runs import Description, Run, lock_folder
from app.batch.tables import DIALECTS, Format, check_format, to_csv
from app.files import write_text
from app.ray_session import ExecutorName
from app.settings import Settings
from app.vision.models.selection import split_names

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
    verbose: bool

    def __post_init__(self) -> None:
        if self.out and (self.as_json or self.as_csv):
            raise click.UsageError("--out replaces --json and --csv; see --format.")
        if not self.out and (self.engine != "local" or self.report):
            raise click.UsageError("--engine and --report need a folder: --out.")


def run_job(settings: Settings, job: BatchJob) -> int:
    """Analyze the pictures, write the results, and return the exit status.

    The status is 1 where a folder couldn't be read, or without `out` a picture. Raises
    `ArchiveError`, `RayError`, `ModelError`, and `RautError` for an unknown model.
    """
    if job.out:
        check_format(job.form)
    reader = PictureReader(settings, job.effort or settings.effort, split_names(job.models))
    return _read_archive(reader, job, job.out) if job.out else _read_photos(reader, job)


def _read_photos(reader: PictureReader, job: BatchJob) -> int:
    passed_over = PassedOver()
    pictures = list_pictures(job.paths, passed_over)
    _tell(passed_over, job.verbose)
    progress = Progress(len(pictures), in_pipes=False)
    answers: list[dict[str, Any]] = []
    for picture in pictures:
        answers.append(reader.analyze(picture))
        progress.advance(1)
    failed = [answer for answer in answers if "error" in answer]
    if job.as_json or not job.as_csv:
        read = [answer for answer in answers if "error" not in answer]
        write_text(json.dumps(read, indent=2) + "\n", job.as_json)
    if job.as_csv:
        rows = [
            row
            for number, answer in enumerate(answers, start=1)
            for row in reader.list_rows(number, answer)
        ]
        columns = [name for name in reader.columns if name != "picture"]
        write_text(to_csv(rows, columns, DIALECTS[job.csv_dialect]), job.as_csv)
    for answer in failed:
        click.echo(f"{answer['file']}: {answer['error_detail']}", err=True)
    return 1 if failed or passed_over.unreadable else 0


def _tell(passed_over: PassedOver, verbose: bool) -> None:
    for folder in passed_over.unreadable:
        click.echo(f"{folder}. Its pictures are left out.", err=True)
    for name in passed_over.hidden if verbose else ():
        click.echo(f"{name}: hidden, left out.", err=True)


def _read_archive(reader: PictureReader, job: BatchJob, folder: Path) -> int:
    description = Description(
        paths=[str(path.absolute()) for path in job.paths],
        effort=reader.effort,
        labels=reader.labels,
        models=reader.models,
        form=job.form,
        shard_size=job.shard_size,
    )
    try:
        with lock_folder(folder):
            passed_over = PassedOver()
            run = Run(folder, job.paths, description, reader.columns, passed_over)
            _tell(passed_over, job.verbose)
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
            summary = Summary(run.read_rows())
    except OSError as error:
        raise ArchiveError(f"{folder} can't be written: {error}") from error
    if job.report:
        write_text(render_report(summary, description), job.report)
    click.echo(
        f"{folder} holds {summary.pictures:,} pictures with {summary.faces:,} faces; "
        f"{summary.errors.counts.total():,} pictures couldn't be read.",
        err=True,
    )
    return 1 if passed_over.unreadable else 0
