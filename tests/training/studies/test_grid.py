import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from training.studies.grid import share_grid

pytestmark = pytest.mark.filterwarnings("ignore")  # Optuna's and SQLAlchemy's own

# Prints each trial that it begins, stays in it until its input ends, and prints all results.
WORKER = """
import sys
from training.studies.grid import share_grid

def measure(point):
    print(point["number"], flush=True)
    sys.stdin.read()
    return {"square": point["number"] ** 2}

points = [{"number": number} for number in range(int(sys.argv[2]))]
storage = f"sqlite:///{sys.argv[1]}/grid.sqlite"
print([row["square"] for row in share_grid(storage, "squares", points, measure, heartbeat=1)])
"""


class Worker:
    """A process that takes part in a grid, held in its first trial."""

    def __init__(self, folder: Path, count: int) -> None:
        command = [sys.executable, "-c", WORKER, str(folder), str(count)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.trials = [int(self._process.stdout.readline())]

    def release(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
            self._process.stdin = None

    def finish(self) -> str:
        """Wait for the end; return the results as they are printed."""
        try:
            *trials, results = self._process.communicate(timeout=60)[0].splitlines()
        finally:
            self.kill()
        self.trials += map(int, trials)
        return results

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def share(folder: Path, count: int, begin: Callable[[], None] = lambda: None) -> list[int]:
    """Take part in a grid in this process; return the trials that it did."""
    trials: list[int] = []

    def measure(point: dict[str, int]) -> dict[str, int]:
        trials.append(point["number"])
        begin()
        return {"square": point["number"] ** 2}

    points = [{"number": number} for number in range(count)]
    rows = share_grid(f"sqlite:///{folder}/grid.sqlite", "squares", points, measure, heartbeat=1)
    assert [row["square"] for row in rows] == [number**2 for number in range(count)]
    return trials


def test_two_processes_share_a_grid_and_do_no_trial_twice(tmp_path: Path) -> None:
    other = Worker(tmp_path, 6)
    trials = share(tmp_path, 6, begin=other.release)
    assert other.finish() == str([number**2 for number in range(6)])
    assert sorted(trials + other.trials) == list(range(6))


def test_a_killed_trial_is_taken_up_again_and_finished_ones_are_not(tmp_path: Path) -> None:
    finished = share(tmp_path, 2)
    killed = Worker(tmp_path, 4)
    killed.kill()
    # It may have been killed before its first heartbeat.
    with closing(sqlite3.connect(tmp_path / "grid.sqlite")) as database, database:
        database.execute("DELETE FROM trial_heartbeats")
    assert sorted(finished + killed.trials + share(tmp_path, 4)) == [0, 1, 2, 2, 3]
