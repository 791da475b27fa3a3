"""Test that a killed training ends as one that was not killed."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = """
name = "tiny"
task = "expression"
seed = 1
purpose = "Shows that a killed training goes on."
not_for = "Anything else."
answers = "original"
minimum_certainty = 0.85
[data]
folder = "{folder}"
channels = 1
size = 24
stored_size = 24
source = "made by the test"
licence = "none"
[heads.original]
targets = "labels"
label_smoothing = 0.1
[network]
name = "plain"
[network.options]
widths = [8, 16]
depths = [1, 1]
dropout = 0.3
[schedule]
epochs = 6
batch = 8
learning_rate = 0.1
average = 0.9
sizes = [[0.5, 16], [1.0, 24]]
precision = "mixed_bfloat16"
checkpoint_seconds = 0.0
[augmentation]
rotation = 10
gamma = 0.5
erasing = 0.3
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe for made pictures whose left half is dark in one class."""
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("validation", 20)):
        for name, share in (("happy", 1.0), ("sad", 0.6)):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture = random.integers(0, 256, (24, 24)).astype(np.float64)
                picture[:, :12] *= share
                Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(folder=tmp_path / "data"))
    return path


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "training", "fit", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def figures(run: Path) -> list[dict[str, str]]:
    """The run's history without the time it took."""
    with (run / "history.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def test_a_killed_run_resumes_to_the_figures_of_one_not_killed(
    recipe: Path, tmp_path: Path
) -> None:
    unbroken = start(recipe, "--out", tmp_path / "unbroken")
    unbroken.communicate()
    assert unbroken.returncode == 0

    killed = start(recipe, "--out", tmp_path / "killed")
    assert killed.stderr
    for line in killed.stderr:
        if line.startswith("epoch 2"):
            os.kill(killed.pid, signal.SIGKILL)  # somewhere within the third epoch
            break
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert len(figures(tmp_path / "killed")) < 6
    # What a kill in the middle of writing a checkpoint leaves must not matter.
    (tmp_path / "killed" / "checkpoint.npz.part").write_bytes(b"half a checkpoint")

    resumed = start("--resume", tmp_path / "killed")
    resumed.communicate()
    assert resumed.returncode == 0
    assert figures(tmp_path / "killed") == figures(tmp_path / "unbroken")
    # The very weights too, as the history rounds.
    weights = [np.load(tmp_path / name / "checkpoint.npz") for name in ("killed", "unbroken")]
    for name in set(weights[0].files) - {"position"}:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])
