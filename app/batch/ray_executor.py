"""Read shards with Ray Data: actors that hold the models, on this machine or on a cluster."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Any

from app.batch.inputs import ArchiveError, Picture
from app.batch.rows import PictureReader
from app.batch.runs import Shard
from app.ray_session import find_reason, start_ray
from app.settings import Settings
from app.vision.table import Row

# Retries of a shard whose worker died; after them its pictures are read one by one.
RETRIES = 2
# More lost shards than these are not the pictures' fault, and end the run.
MOST_LOST = 16


class ShardReader:
    """Read shards in a Ray actor, which loads the models once."""

    def __init__(self, settings: Settings, effort: str | None, names: Sequence[str] | None) -> None:
        self._reader = PictureReader(settings, effort, names)

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Read a shard's pictures; pictures and rows travel as JSON, which keeps their types."""
        pictures = [Picture(*values) for values in json.loads(shard["pictures"])]
        rows = self._reader.read(shard["first"], pictures)
        return {"number": shard["number"], "rows": json.dumps(rows)}


def read_by_ray(
    reader: PictureReader, shards: list[Shard], workers: int | None
) -> Iterator[tuple[int, list[Row]]]:
    """Yield each shard's number and rows as it is done, in any order.

    `workers` actors read as `reader` does, by default one for each CPU of the machine or cluster.
    A picture that kills its readers gets a row with an error. Raises `ArchiveError` where Ray keeps
    losing its workers, and `RayError` as `start_ray` does.
    """
    if not shards:
        return
    with start_ray(workers, "ray.data"):
        import ray

        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        count = workers or int(ray.cluster_resources().get("CPU", 1))
        lost = {shard.number: shard for shard in shards}
        for number, rows in _map(reader, shards, count):
            del lost[number]
            yield number, rows
        for shard in lost.values():
            yield shard.number, _read_one_by_one(reader, shard, count)


def _read_one_by_one(reader: PictureReader, shard: Shard, count: int) -> list[Row]:
    # Each picture is a shard of its own, to find the one that kills its reader.
    single = [
        Shard(number, number, [picture])
        for number, picture in enumerate(shard.pictures, start=shard.first)
    ]
    read = dict(_map(reader, single, count))
    if not read and len(single) > 1:
        raise _gave_up("no worker could read a single picture of a shard.")
    return [
        row
        for each in single
        for row in read.get(each.number) or [reader.lose(each.number, each.pictures[0])]
    ]


def _map(reader: PictureReader, shards: list[Shard], count: int) -> Iterator[tuple[int, list[Row]]]:
    import ray

    items = [
        {
            "number": shard.number,
            "first": shard.first,
            "pictures": json.dumps([astuple(picture) for picture in shard.pictures]),
        }
        for shard in shards
    ]
    models = reader.settings.models.absolute()  # Actors have their own working folders.
    settings = reader.settings.model_copy(update={"models": models})
    ray.data.DataContext.get_current().max_errored_blocks = MOST_LOST
    with warnings.catch_warnings():
        # Ray calls these parameters deprecated, but no others limit retries.
        warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
        answers = ray.data.from_items(items, override_num_blocks=len(items)).map(
            ShardReader,  # type: ignore[arg-type]  # Ray takes classes, but its types don't.
            fn_constructor_args=(settings, reader.given_effort, reader.names),
            # With one task at a time a dying actor takes no queued task along.
            compute=ray.data.ActorPoolStrategy(
                size=min(count, len(items)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
    try:
        for answer in answers.iter_rows():
            yield answer["number"], json.loads(answer["rows"])
    except Exception as error:  # Ray's exceptions have no common base class.
        raise _gave_up(find_reason(error)) from error


def _gave_up(reason: str) -> ArchiveError:
    return ArchiveError(
        f"Ray gave up: {reason} Finished shards are kept; the same command resumes the run."
    )
