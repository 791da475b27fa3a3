"""Write a data set and a recipe that are learned in a second."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image

from training.__main__ import cli

RECIPE = """
name = "tiny"
task = "expression"
seed = 1
purpose.en = "Shows that a killed training goes on."
purpose.id = "Shows that a killed training goes on."
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
progressive_sizes = [[0.5, 16], [1.0, 24]]
precision = "mixed_bfloat16"
checkpoint_seconds = 0.0
[augmentation]
rotation = 10
gamma = 0.5
erasing = 0.3
"""


def write_recipe(folder: Path) -> Path:
    """Write a recipe for made pictures whose left half is dark in one class."""
    random = np.random.default_rng(0)
    for split, count in (("train", 40), ("validation", 20)):
        for name, share in (("happy", 1.0), ("sad", 0.6)):
            pictures = folder / "data" / split / name
            pictures.mkdir(parents=True)
            for number in range(count):
                picture = random.integers(0, 256, (24, 24)).astype(np.float64)
                picture[:, :12] *= share
                Image.fromarray(picture.astype(np.uint8)).save(pictures / f"{number}.png")
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(folder=folder / "data"))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])
