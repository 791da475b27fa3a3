"""Test that a grid is worked off together, and goes on when somebody is stopped."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

# Writes a line for each trial that begins, and stays in a trial while the file "hold" is there.
WORKER = """
import os, sys, time
from pathlib import Path
from training.grid import name_file, share_grid

folder = Path(sys.argv[1])

def measure(point):
    with (folder / "begun").open("a") as stream:
        stream.write(f"{os.getpid()} {point['number']}\\n")
    while (folder / "hold").exists():
        time.sleep(0.05)
    return {"square": point["number"] ** 2}

points = [{"number": number} for number in range(int(sys.argv[2]))]
found = share_grid(name_file(folder / "grid.sqlite"), "squares", points, measure, heartbeat=1)
print([row["square"] for row in found])
"""


def start(folder: Path, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(folder), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def begun(folder: Path) -> list[list[str]]:
    path = folder / "begun"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_two_processes_share_a_grid_and_do_no_trial_twice(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    workers = [start(tmp_path, 12) for _ in range(2)]
    wait_for(lambda: len(begun(tmp_path)) == 2)  # both are at one
    (tmp_path / "hold").unlink()
    squares = str([number**2 for number in range(12)])
    assert [worker.communicate()[0].strip() for worker in workers] == [squares, squares]
    lines = begun(tmp_path)
    assert sorted(int(number) for _, number in lines) == list(range(12))
    assert len({process for process, _ in lines}) == 2


def test_a_killed_trial_is_taken_up_again_and_finished_ones_are_not(tmp_path: Path) -> None:
    finished = start(tmp_path, 2)
    assert finished.communicate()[0].strip() == "[0, 1]"

    (tmp_path / "hold").touch()
    killed = start(tmp_path, 4)
    wait_for(lambda: len(begun(tmp_path)) == 3)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    (tmp_path / "hold").unlink()
    # It may have been killed before its first heartbeat.
    with closing(sqlite3.connect(tmp_path / "grid.sqlite")) as database, database:
        database.execute("DELETE FROM trial_heartbeats")

    with start(tmp_path, 4) as resumed:
        try:
            assert resumed.communicate(timeout=60)[0].strip() == "[0, 1, 4, 9]"
        finally:
            resumed.kill()
    assert sorted(int(number) for _, number in begun(tmp_path)) == [0, 1, 2, 2, 3]
