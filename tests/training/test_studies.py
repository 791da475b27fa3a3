"""Test the studies on a scale that takes seconds, with data and weights that the test makes."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from training.__main__ import cli

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own


def make_pictures(folder: Path, count: int, classes: tuple[str, ...], seed: int = 0) -> None:
    """Write noise whose left half is darker, class by class."""
    random = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture = random.integers(0, 256, (40, 40, 3)).astype(np.float64)
            picture[:, :20] *= (label + 1) / len(classes)
            Image.fromarray(picture.astype(np.uint8)).save(folder / name / f"{number}.png")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for seed, (part, count) in enumerate((("train", 16), ("validation", 6))):
        make_pictures(tmp_path / "data" / part, count, ("one", "two"), seed)
    return tmp_path / "data"


def study(name: str, data: Path, folder: Path, *arguments: str) -> Result:
    chosen = ["study", name, "--scale", "smoke", "--data", str(data)]
    return CliRunner().invoke(cli, [*chosen, "--out", str(folder), *arguments])


def read_results(folder: Path) -> list[dict[str, str]]:
    """The rows without what time they took."""
    (path,) = folder.glob("results/*/results.csv")
    with path.open(newline="") as stream:
        return [
            {key: value for key, value in row.items() if "seconds" not in key}
            for row in csv.DictReader(stream)
        ]


def read_report(folder: Path) -> str:
    (path,) = folder.glob("results/*/report.md")
    return path.read_text()


def test_epochs_and_batches_are_compared_beside_the_paper(data: Path, tmp_path: Path) -> None:
    done = study("expression-epochs-batches", data, tmp_path / "work")
    assert done.exit_code == 0, done.output
    rows = read_results(tmp_path / "work")
    assert [row["epochs_run"] for row in rows] == ["2", "3"]
    report = read_report(tmp_path / "work")
    assert "| training accuracy | 90.32% |" in report
    assert "TP / (TP + FP + FN)" in report
    made = json.loads(next(tmp_path.glob("work/results/*/results.json")).read_text())
    assert made["seed"] == 1
    assert "optuna" in made["versions"]
    for name in ("curves", "confusion"):
        assert list(tmp_path.glob(f"work/results/*/figures/epochs-3-batch-8-{name}.png"))

    refused = study("expression-epochs-batches", data, tmp_path / "work")
    assert refused.exit_code == 2
    assert "--resume" in refused.output


def test_an_unknown_study_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    refused = study("weather", tmp_path, tmp_path / "work")
    assert refused.exit_code == 1
    assert "expression-epochs-batches" in refused.output


def test_a_killed_study_resumes_to_the_results_of_one_not_killed(
    data: Path, tmp_path: Path
) -> None:
    def start(folder: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "training", "study", "expression-epochs-batches"]
        chosen = ["--scale", "smoke", "--data", str(data), "--out", str(tmp_path / folder)]
        return subprocess.Popen([*command, *chosen, *arguments], stderr=subprocess.PIPE, text=True)

    assert study("expression-epochs-batches", data, tmp_path / "unbroken").exit_code == 0
    killed = start("killed")
    assert killed.stderr
    for line in killed.stderr:
        if line.startswith("epoch 1"):
            os.kill(killed.pid, signal.SIGKILL)  # somewhere within the second epoch
            break
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("killed/results"))

    resumed = start("killed", "--resume")
    resumed.communicate()
    assert resumed.returncode == 0
    assert read_results(tmp_path / "killed") == read_results(tmp_path / "unbroken")
