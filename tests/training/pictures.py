"""Make pictures that a network can tell apart at once."""

from pathlib import Path

import numpy as np
from PIL import Image


def make_pictures(folder: Path, count: int, classes: tuple[str, ...], seed: int = 0) -> None:
    """Write noise whose left half is darker, class by class."""
    random = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture = random.integers(0, 256, (40, 40, 3)).astype(np.float64)
            picture[:, :20] *= (label + 1) / len(classes)
            Image.fromarray(picture.astype(np.uint8)).save(folder / name / f"{number}.png")
