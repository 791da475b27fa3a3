"""Read shards with Ray Data: actors that hold the models, on this machine or on a cluster."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Any

from app.batch.inputs import ArchiveError, Picture
from app.batch.rows import PictureReader, Row
from app.batch.runs import Shard
from app.ray_session import find_reason, start_ray
from app.settings import Settings

# How often a shard is tried again whose worker died; then its pictures are read one by one.
RETRIES = 2
# Shards that may be lost so before the run ends: then it isn't the pictures' fault.
MOST_LOST = 16


class ShardReader:
    """Read whole shards in a Ray actor, which loads the models once."""

    def __init__(self, settings: Settings, effort: str, names: Sequence[str] | None) -> None:
        """Load the models."""
        self._reader = PictureReader(settings, effort, names)

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Read a shard's pictures; both come and go as JSON, so that Arrow changes no type."""
        pictures = [Picture(*values) for values in json.loads(shard["pictures"])]
        rows = self._reader.read(shard["first"], pictures)
        return {"number": shard["number"], "rows": json.dumps(rows)}


def read_by_ray(
    reader: PictureReader, shards: list[Shard], workers: int | None
) -> Iterator[tuple[int, list[Row]]]:
    """Yield each shard's number and rows as they get done, in any order.

    `workers` actors read as `reader` does, by default one for each processor of the machine or
    cluster. A picture that kills whoever reads it becomes a row with an error. Raises
    `ArchiveError` where Ray loses its workers all the time, and as `start_ray` does.
    """
    if not shards:
        return
    with start_ray(workers, "ray.data"):
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        count = workers or _count_places()
        lost = {shard.number: shard for shard in shards}
        for number, rows in _map(reader, shards, count):
            del lost[number]
            yield number, rows
        for shard in lost.values():
            yield shard.number, _read_alone(reader, shard, count)


def _count_places() -> int:
    """Count the processors of the machine or cluster."""
    import ray

    return int(ray.cluster_resources().get("CPU", 1))


def _read_alone(reader: PictureReader, shard: Shard, count: int) -> list[Row]:
    """Read each picture of a shard for itself, to find the one that kills its reader."""
    alone = [
        Shard(number, number, [picture])
        for number, picture in enumerate(shard.pictures, start=shard.first)
    ]
    read = dict(_map(reader, alone, count))
    if not read and len(alone) > 1:
        raise _given_up("no worker reads a single picture of a shard.")
    return [
        row
        for each in alone
        for row in read.get(each.number) or [reader.lose(each.number, each.pictures[0])]
    ]


def _map(reader: PictureReader, shards: list[Shard], count: int) -> Iterator[tuple[int, list[Row]]]:
    """Let `count` actors read shards; yield what they answer, and nothing for lost ones."""
    import ray

    items = [
        {
            "number": shard.number,
            "first": shard.first,
            "pictures": json.dumps([astuple(picture) for picture in shard.pictures]),
        }
        for shard in shards
    ]
    models = reader.settings.models.absolute()  # Actors have working folders of their own.
    settings = reader.settings.model_copy(update={"models": models})
    ray.data.DataContext.get_current().max_errored_blocks = MOST_LOST
    with warnings.catch_warnings():
        # Retries can be limited by no other parameters than these, which Ray calls deprecated.
        warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
        answers = ray.data.from_items(items, override_num_blocks=len(items)).map(
            ShardReader,  # type: ignore[arg-type]  # Ray takes a class, its types only functions.
            fn_constructor_args=(settings, reader.effort, reader.names),
            # With one task at a time nobody's death takes along what waits behind him.
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
    except Exception as error:  # Ray's own exceptions have no common base.
        raise _given_up(find_reason(error)) from error


def _given_up(reason: str) -> ArchiveError:
    """End the run because of Ray."""
    return ArchiveError(
        f"Ray gave up: {reason} What is done is kept; the same command goes on from there."
    )
