"""Write data sets and a recipe that are learned in a second, and run commands on them."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image

from training.__main__ import cli

RECIPE = """
name = "tiny"
task = "expression"
seed = 1
purpose.en = "A network for the tests."
purpose.id = "A network for the tests."
not_for.en = "Anything else."
not_for.id = "Anything else."
default_head = "original"
target_precision = 0.85
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
name = "vgg"
[network.options]
widths = [8, 16]
depths = [1, 1]
dropout = 0.3
[schedule]
epochs = 6
batch = 8
learning_rate = 0.1
ema_decay = 0.9
precision = "mixed_bfloat16"
checkpoint_seconds = 0.0
[augmentation]
rotation = 10
gamma = 0.5
erasing = 0.3
"""


def make_pictures(folder: Path, count: int, classes: tuple[str, ...], seed: int = 0) -> None:
    """Write noise whose left half is darker, class by class."""
    random = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        write_noise(folder / name, count, (40, 40, 3), (label + 1) / len(classes), random)


def write_noise(
    folder: Path, count: int, shape: tuple[int, ...], left: float, random: np.random.Generator
) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        picture = random.integers(0, 256, shape).astype(np.float64)
        picture[:, : shape[1] // 2] *= left
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")


def write_recipe(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for split, count in (("train", 40), ("validation", 20)):
        for name, left in (("happy", 1.0), ("sad", 0.6)):
            write_noise(folder / "data" / split / name, count, (24, 24), left, random)
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(folder=folder / "data"))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def succeed(*arguments: str | Path) -> str:
    """Run a command that succeeds; return its output."""
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    """Start a command in a process of its own."""
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def kill_when(line_starts: str, *arguments: str | Path) -> None:
    """Start a command in a process of its own, and kill it after a line that starts so."""
    with start(*arguments) as killed:
        assert killed.stderr
        if any(line.startswith(line_starts) for line in killed.stderr):
            killed.kill()
    assert killed.returncode == -signal.SIGKILL


def fit(recipe: str | Path, out: Path, *changes: str) -> None:
    succeed("fit", recipe, "--out", out, *(f"--set={change}" for change in changes))


def fail(message: str, *arguments: str | Path, status: int = 1) -> None:
    """Run a command that fails with a message."""
    result = run(*arguments)
    assert (result.exit_code, message in result.output) == (status, True), result.output


def list_arrays(body: Any) -> dict[str, np.ndarray]:
    """Return a Keras body's weights, named and shaped as PyTorch keeps them."""
    arrays: dict[str, np.ndarray] = {}
    for layer in body.layers:
        names: tuple[str, ...] = ("weight", "bias", "running_mean", "running_var")
        values = [np.asarray(weight) for weight in layer.weights]
        if "Conv2D" in type(layer).__name__:
            axes = (2, 3, 0, 1) if type(layer).__name__ == "DepthwiseConv2D" else (3, 2, 0, 1)
            names, values = ("weight",), [values[0].transpose(axes)]
        arrays |= {f"{layer.name}.{n}": v for n, v in zip(names, values, strict=False)}
    return arrays
