"""Make an archive of many photos to measure on."""

from pathlib import Path

import click
import numpy as np
import skimage.data
from PIL import Image

SCENES = ("astronaut", "coffee", "rocket", "chelsea")
BROKEN_EVERY = 500


@click.command()
@click.argument("photos", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--count", default=20_000, show_default=True, type=click.IntRange(1))
def archive(photos: Path, folder: Path, count: int) -> None:
    """Make an archive of crops and rotations of a folder's JPEG photos and scikit-image's.

    The same photos give the same archive; each 500th file is truncated.
    """
    scenes = [Image.fromarray(getattr(skimage.data, name)()) for name in SCENES]
    scenes += [Image.open(path).convert("RGB") for path in sorted(photos.glob("*.jpg"))]
    for number in range(count):
        file = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        _vary(scenes[number % len(scenes)], number).save(file, quality=90)
        if number % BROKEN_EVERY == BROKEN_EVERY - 1:
            file.write_bytes(file.read_bytes()[:400])


def _vary(scene: Image.Image, seed: int) -> Image.Image:
    """Rotate a photo by up to 20 degrees, and crop it to three quarters of its sides or more."""
    rng = np.random.default_rng(seed)
    rotated = scene.rotate(rng.uniform(-20, 20), Image.Resampling.BILINEAR)
    size = (rng.uniform(0.75, 1, 2) * scene.size).round().astype(int)
    left, top = rng.integers(np.array(scene.size) - size + 1)
    return rotated.crop((left, top, left + size[0], top + size[1]))
