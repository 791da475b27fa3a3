"""Carry out a study's independent pieces of work: one after another here, or as tasks of Ray."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from app.ray_session import ExecutorName, RayError, find_reason, start_ray
from app.settings import count_processors

# TensorFlow's own setting of how many threads share an operation, by default one a processor. By
# their number sums are cut into parts, and so it changes the last digits of a training.
THREADS = "TF_NUM_INTRAOP_THREADS"
CARRIED = ("RAUT_PRETRAINED", "TF_CPP_MIN_LOG_LEVEL")  # what a cluster's workers are told too
RETRIES = 3  # of a task whose worker or machine died
Item = TypeVar("Item")
Found = TypeVar("Found")


class Engine(Protocol):
    """Describe who carries out pieces of work that don't depend on one another."""

    @property
    def parallel(self) -> bool:
        """Tell whether pieces are carried out at the same time, by several processes."""

    def map(self, work: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
        """Do the work on each item; return what was found, in the items' order."""


class LocalExecutor:
    """Carry pieces out in this process, in their order."""

    parallel = False

    def map(self, work: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
        """Do the work on each item."""
        return [work(item) for item in items]


@dataclass(frozen=True)
class RayExecutor:
    """Carry pieces out as Ray's tasks, each with as many processors as it has threads.

    They work in this process' folder, which a cluster's machines have under the same path.
    """

    threads: int
    folder: Path = field(default_factory=Path.cwd)
    parallel = True

    def map(self, work: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
        """Do the work on each item; a piece whose worker died is begun again.

        Raises what a piece raises, and `RayError` for one that loses its worker each time.
        """
        import ray

        task = ray.remote(num_cpus=self.threads, max_retries=RETRIES)(_carry_out)
        common = ray.put(work)  # Once for all tasks: it may hold a data set.
        try:
            found: list[Found] = ray.get([task.remote(common, item, self.folder) for item in items])
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise RayError(
                f"Ray gave up: {find_reason(error)} What is trained is kept; --resume goes on from "
                "there."
            ) from error
        return found


def _carry_out(work: Callable[[Any], Any], item: Any, folder: Path) -> Any:
    """Do the work on an item, in a worker of Ray's."""
    os.chdir(folder)
    return work(item)


@contextmanager
def open_engine(name: ExecutorName) -> Iterator[Engine]:
    """Give an engine, whose Ray runs as long.

    Raises `RayError` as `start_ray` does, and where no machine has a training's processors.
    """
    if name == "local":
        yield LocalExecutor()
        return
    threads = _count_threads()
    environment = {key: os.environ[key] for key in CARRIED if key in os.environ}
    environment[THREADS] = str(threads)
    with start_ray(max(threads, count_processors()), environment=environment, show_workers=True):
        _check_machines(threads)
        yield RayExecutor(threads)


def _count_threads() -> int:
    """Count the threads that TensorFlow uses here. Raises `RayError` for what is no number."""
    text = os.environ.get(THREADS) or str(count_processors())
    if not text.isdecimal() or int(text) == 0:
        raise RayError(f"{THREADS} is {text!r}; it must be a number from 1 on.")
    return int(text)


def _check_machines(threads: int) -> None:
    """Refuse a cluster in which tasks would wait for ever. Raises `RayError`."""
    import ray

    most = max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
    if most < threads:
        raise RayError(
            f"Each training has {threads} threads, but no machine of the cluster has more than "
            f"{most} processors. Set {THREADS} to {most} at most; results are equal to those of "
            "the local engine with as many."
        )
