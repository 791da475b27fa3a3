"""Run a study's independent jobs: in sequence in this process, or as Ray tasks."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from app.ray_session import ExecutorName, RayError, find_reason, start_ray
from app.settings import count_processors

# TensorFlow's number of threads per operation, one per CPU by default. Sums are split by it, so it
# changes the last digits of a training.
THREADS = "TF_NUM_INTRAOP_THREADS"
FORWARDED = ("RAUT_PRETRAINED", "TF_CPP_MIN_LOG_LEVEL")  # variables that cluster workers get too
RETRIES = 3  # of a task whose worker or machine died
Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor:
    """Run jobs that don't depend on one another, in sequence in this process."""

    parallel = False  # whether jobs run in several processes at the same time

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Apply `work` to each item; return the results in the items' order."""
        return [work(item) for item in items]


@dataclass(frozen=True)
class RayExecutor(Executor):
    """Run jobs as Ray tasks with `threads` CPUs each.

    They work in this process' folder, which a cluster's machines have under the same path.
    """

    threads: int
    folder: Path = field(default_factory=Path.cwd)
    parallel = True

    def map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Apply `work` to each item; a job whose worker died is retried.

        Raises what a job raises, and `RayError` for one that loses its worker each time.
        """
        import ray

        task = ray.remote(num_cpus=self.threads, max_retries=RETRIES)(_carry_out)
        shared = ray.put(work)  # Once for all tasks: it may hold a data set.
        tasks = [task.remote(shared, item, self.folder) for item in items]
        try:
            results: list[Result] = ray.get(tasks)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise RayError(
                f"Ray gave up: {find_reason(error)} Finished trainings are kept; --resume "
                "continues."
            ) from error
        return results


def _carry_out(work: Callable[[Any], Any], item: Any, folder: Path) -> Any:
    os.chdir(folder)
    return work(item)


@contextmanager
def open_executor(name: ExecutorName) -> Iterator[Executor]:
    """Yield an executor; Ray runs until the block ends.

    Raises `RayError` as `start_ray` does, and if no machine has enough CPUs for one training.
    """
    if name == "local":
        yield Executor()
        return
    text = os.environ.get(THREADS) or str(count_processors())
    if not text.isdecimal() or int(text) == 0:
        raise RayError(f"{THREADS} is {text!r}; it must be a number from 1 on.")
    threads = int(text)
    environment = {key: os.environ[key] for key in FORWARDED if key in os.environ}
    environment[THREADS] = text
    with start_ray(max(threads, count_processors()), environment=environment, show_workers=True):
        import ray

        most = max(int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
        if most < threads:  # Tasks would wait for ever.
            raise RayError(
                f"Each training has {threads} threads, but no machine of the cluster has more than "
                f"{most} CPUs. Set {THREADS} to {most} at most; results equal those of the local "
                "executor with as many."
            )
        yield RayExecutor(threads)
