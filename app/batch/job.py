"""Read an archive into a folder, by the engine that is asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.batch.inputs import ArchiveError
from app.batch.progress import Progress
from app.batch.ray_executor import read_by_ray
from app.batch.report import Summary, render_report
from app.batch.rows import PictureReader, Row
from app.batch.runs import Description, Run, Shard, lock_folder
from app.batch.tables import Format, check_format
from app.files import write_text
from app.ray_session import ExecutorName
from app.settings import Settings


@dataclass(frozen=True)
class BatchJob:
    """Say what is to be read, how, and into which folder."""

    paths: tuple[Path, ...]
    folder: Path
    effort: str
    models: list[str] | None
    engine: ExecutorName
    form: Format
    shard_size: int
    workers: int | None
    report: Path | None


def read_archive(settings: Settings, order: BatchJob) -> Summary:
    """Read all pictures that the folder doesn't hold yet; return what it holds then.

    Raises `ArchiveError`, `app.ray_session.RayError` as `start_ray` does,
    `app.vision.models.cards.ModelError` as `load_analyzer` does, and `RautError` for a name that
    no model has.
    """
    check_format(order.form)
    reader = PictureReader(settings, order.effort, order.models)
    description = Description(
        paths=[str(path.absolute()) for path in order.paths],
        effort=order.effort,
        labels=reader.labels,
        models=reader.models,
        form=order.form,
        shard_size=order.shard_size,
    )
    try:
        with lock_folder(order.folder):
            run = Run(order.folder, order.paths, description, reader.columns)
            pending = run.list_pending()
            sizes = {shard.number: len(shard.pictures) for shard in pending}
            progress = Progress(run.count, run.count - sum(sizes.values()))
            for number, rows in _read(reader, order, pending):
                run.keep(number, rows)
                progress.advance(sizes[number])
            summary = Summary(run.read_rows())
    except OSError as error:
        raise ArchiveError(f"{order.folder} can't be written: {error}") from error
    if order.report:
        write_text(render_report(summary, description), order.report)
    return summary


def _read(
    reader: PictureReader, order: BatchJob, shards: list[Shard]
) -> Iterator[tuple[int, list[Row]]]:
    """Yield the rows of each shard as they get done."""
    if order.engine == "ray":
        yield from read_by_ray(reader, shards, order.workers)
        return
    for shard in shards:
        yield shard.number, reader.read(shard.first, shard.pictures)
