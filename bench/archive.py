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
    """Cut and turn the JPEG photos of a folder, and scikit-image's, into an archive of many.

    The same photos give the same pictures; each 500th breaks off.
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
    """Turn a picture by up to 20 degrees and cut up to a quarter of its sides off."""
    drawn = np.random.default_rng(seed)
    turned = scene.rotate(drawn.uniform(-20, 20), Image.Resampling.BILINEAR)
    kept = drawn.uniform(0.75, 1, 2)
    width, height = (round(side * share) for side, share in zip(scene.size, kept, strict=True))
    left, top = (
        int(drawn.integers(whole - part + 1))
        for whole, part in zip(scene.size, (width, height), strict=True)
    )
    return turned.crop((left, top, left + width, top + height))
