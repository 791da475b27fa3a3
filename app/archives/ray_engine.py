"""Read shards with Ray Data: actors that hold the models, on this machine or on a cluster."""

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from app.archives.inputs import ArchiveError, Picture, missing_package
from app.archives.rows import PictureReader, Row
from app.archives.runs import Shard
from app.settings import Settings, count_processors

# Sockets lie below, whose paths may have 107 bytes; macOS' own temporary folder has a long name.
SHORT = Path("/tmp")  # nosec B108 - the folder made in it has a new name and is its owner's alone
# How often a shard may take its worker along before the run ends: a picture that kills whatever
# reads it would keep killing.
MOST_DEATHS = 5
QUIET = {
    # Ray would report its use to its maker.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_enable_metrics_collection": "0",
}
# Ray looks for an address that other machines reach, and listens on all of them, unless this
# variable, which is read on every system, says that there are no other machines.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


class ShardReader:
    """Read whole shards in a Ray actor, which loads the models once."""

    def __init__(self, settings: Settings, effort: str) -> None:
        """Load the models."""
        self._reader = PictureReader(settings, effort)

    def __call__(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Read a shard's pictures; both come and go as JSON, so that Arrow changes no type."""
        pictures = [Picture(*values) for values in json.loads(shard["pictures"])]
        rows = self._reader.read(shard["first"], pictures)
        return {"number": shard["number"], "rows": json.dumps(rows)}


def read_by_ray(
    settings: Settings, effort: str, shards: list[Shard], workers: int | None
) -> Iterator[tuple[int, list[Row]]]:
    """Yield each shard's number and rows as they get done, in any order.

    `workers` actors read, by default one for each processor of the machine or cluster. Raises
    `ArchiveError` where Ray isn't installed, can't be reached, or a shard kills its workers.
    """
    if not shards:
        return
    with _start_ray(workers) as count:
        import ray

        items = [
            {
                "number": shard.number,
                "first": shard.first,
                "pictures": json.dumps([astuple(picture) for picture in shard.pictures]),
            }
            for shard in shards
        ]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map(
            ShardReader,  # type: ignore[arg-type]  # Ray takes a class, its types only functions.
            fn_constructor_args=(settings, effort),
            compute=ray.data.ActorPoolStrategy(size=min(count, len(items))),
            num_cpus=1,
            max_restarts=-1,
            max_task_retries=MOST_DEATHS,
        )
        try:
            for answer in done.iter_rows():
                yield answer["number"], json.loads(answer["rows"])
        except ray.exceptions.RayError as error:
            raise ArchiveError(
                f"Ray gave up: {str(error).strip().splitlines()[0]} What is done is kept; the same "
                "command goes on from there."
            ) from error


@contextmanager
def _start_ray(workers: int | None) -> Iterator[int]:
    """Start Ray on this machine alone, or join the cluster at RAY_ADDRESS; give the actors' number.

    What Ray notes on this machine goes into a folder of its own, which is removed at the end.
    """
    address = os.environ.get("RAY_ADDRESS") or "local"
    os.environ.update(QUIET if address != "local" else QUIET | ALONE)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise missing_package("the engine ray", error) from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(
        prefix="raut-", dir=SHORT if SHORT.is_dir() else None, ignore_cleanup_errors=True
    ) as notes:
        try:
            if address == "local":
                processors = workers or count_processors()
                ray.init(
                    "local", num_cpus=processors, include_dashboard=False, _temp_dir=notes, **quiet
                )
            else:
                ray.init(address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ArchiveError(
                f"Ray doesn't start, or isn't reached at {address}: {error}"
            ) from error
        try:
            yield workers or int(ray.cluster_resources().get("CPU", 1))
        finally:
            ray.shutdown()
