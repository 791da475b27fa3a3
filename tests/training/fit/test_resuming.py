import csv
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.training.recipes import run, start, succeed


def end(process: "subprocess.Popen[str]", status: int = 0) -> None:
    process.communicate()
    assert process.returncode == status


def figures(run: Path) -> list[dict[str, str]]:
    """The run's history without the time it took."""
    with (run / "history.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def test_a_killed_run_resumes_to_the_figures_of_one_not_killed(
    recipe: Path, tmp_path: Path
) -> None:
    end(start("fit", recipe, "--out", tmp_path / "unbroken"))
    killed = start("fit", recipe, "--out", tmp_path / "killed")
    assert killed.stderr
    for line in killed.stderr:
        if line.startswith("epoch 2"):
            os.kill(killed.pid, signal.SIGKILL)  # somewhere within the third epoch
            break
    end(killed, -signal.SIGKILL)
    assert len(figures(tmp_path / "killed")) < 6
    # What a kill in the middle of writing a checkpoint leaves must not matter.
    (tmp_path / "killed" / "checkpoint.npz.part").write_bytes(b"half a checkpoint")

    end(start("fit", "--resume", tmp_path / "killed"))
    assert figures(tmp_path / "killed") == figures(tmp_path / "unbroken")
    # The very weights too, as the history rounds.
    weights = [np.load(tmp_path / name / "checkpoint.npz") for name in ("killed", "unbroken")]
    for name in set(weights[0].files) - {"position"}:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
@pytest.mark.parametrize("file", ["history.csv", "checkpoint.npz", "model.keras"])
def test_a_run_that_ends_before_a_file_takes_its_name_goes_on_without_it(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    def fit(folder: str, *arguments: str) -> int:
        short = ("--set", "schedule.epochs=1", "--out", str(tmp_path / folder))
        return run("fit", *arguments, *short).exit_code

    def interrupt(path: Path, target: Path) -> Path:
        if target.name == file:
            raise OSError("The machine was switched off.")
        return rename(path, target)

    assert fit("unbroken", str(recipe)) == 0
    rename = Path.replace
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupt)
        assert fit("ended", str(recipe)) == 1
    assert not (tmp_path / "ended" / file).exists()
    succeed("fit", "--resume", tmp_path / "ended")
    assert figures(tmp_path / "ended") == figures(tmp_path / "unbroken")
    assert (tmp_path / "ended" / "model.keras").is_file()
