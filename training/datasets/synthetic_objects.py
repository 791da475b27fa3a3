"""Make out-of-distribution pictures of objects and scenes for a clothing classifier.

Cut-outs, as drawing programs ship them, are pasted onto plain colours and onto wallpapers, so that
the background doesn't separate objects from garments.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from training.recipe import DataError

SIDE = 288  # of the written pictures, as large as the garments' photos
MAX_CUT_OUTS = 800  # of each source
WINDOWS = 12  # crops of each wallpaper
TRAIN_SHARE = 0.8  # of the source files
FEWEST = 2  # cut-outs and wallpapers: one for each split
EXCLUDED = {"clothes", "people"}  # folders whose pictures show garments
PATTERNS = ("*.png", "*.jpg", "*.webp")
CLEAR = 0.05  # share of transparent pixels from which a picture is a cut-out
SMALLEST_WALLPAPER = 800  # pixels of its shorter side
LARGEST_ENLARGEMENT = 3.0
NAME = "things"


def prepare_synthetic_objects(sources: list[Path], out: Path, seed: int) -> dict[str, int]:
    """Write pictures as OUT/<split>/things/*.jpg from folders of cut-outs and of wallpapers.

    Each source file is in one split only. Returns the number of pictures of each split. Raises
    `DataError` if there are too few cut-outs or wallpapers.
    """
    random = np.random.default_rng(seed)
    cut_outs, wallpapers = _sort_files(sources, random)
    if min(len(cut_outs), len(wallpapers)) < FEWEST:
        raise DataError(
            f"{FEWEST} pictures with transparent edges and {FEWEST} wallpapers of "
            f"{SMALLEST_WALLPAPER} pixels or more are needed; there are {len(cut_outs)} cut-outs "
            f"and {len(wallpapers)} wallpapers."
        )
    counts = {}
    for split in ("train", "validation"):
        folder = out / split / NAME
        folder.mkdir(parents=True, exist_ok=True)
        ours, papers = (
            files[:first] if split == "train" else files[first:]
            for files in (cut_outs, wallpapers)
            if (first := max(1, int(TRAIN_SHARE * len(files))))
        )
        pictures = _make(ours, [_open(file).convert("RGB") for file in papers], random)
        for number, picture in enumerate(pictures):
            picture.save(folder / f"{number:05d}.jpg", quality=90)
            counts[split] = number + 1
    return counts


def _sort_files(sources: list[Path], random: np.random.Generator) -> tuple[list[Path], list[Path]]:
    cut_outs: list[Path] = []
    wallpapers: list[Path] = []
    for source in sources:
        files = sorted(file for pattern in PATTERNS for file in source.rglob(pattern))
        kept = [file for file in files if not EXCLUDED & set(file.relative_to(source).parts)]
        own: list[Path] = []
        for index in random.permutation(len(kept)):
            file = kept[index]
            picture = _open(file)
            clear = (np.asarray(picture.getchannel("A")) < 128).mean()
            if clear > CLEAR and len(own) < MAX_CUT_OUTS:
                own.append(file)
            elif clear == 0 and min(picture.size) >= SMALLEST_WALLPAPER:
                wallpapers.append(file)
            if len(own) == MAX_CUT_OUTS:
                break
        cut_outs += own
    return cut_outs, wallpapers


def _make(
    cut_outs: list[Path], wallpapers: list[Image.Image], random: np.random.Generator
) -> Iterator[Image.Image]:
    for wallpaper in wallpapers:
        for _ in range(WINDOWS):
            yield _crop(wallpaper, random)
    for file in cut_outs:
        if random.random() < 0.5:
            colour = tuple(int(value) for value in random.integers(0, 256, 3))
            ground = Image.new("RGB", (SIDE, SIDE), colour if random.random() < 0.5 else "white")
        else:
            ground = _crop(wallpapers[random.integers(len(wallpapers))], random)
        yield _paste(_open(file), ground, random)


def _crop(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    side = int(min(picture.size) * random.uniform(0.3, 1.0))
    left, top = (int(random.integers(length - side + 1)) for length in picture.size)
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX, (left, top, left + side, top + side))


def _paste(cut_out: Image.Image, ground: Image.Image, random: np.random.Generator) -> Image.Image:
    wanted = random.uniform(0.5, 1.0) * SIDE / max(cut_out.size)
    scale = min(wanted, LARGEST_ENLARGEMENT)
    width, height = (max(1, round(length * scale)) for length in cut_out.size)
    resized = cut_out.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (int(random.integers(SIDE - length + 1)) for length in resized.size)
    picture = ground.copy()
    picture.paste(resized, (left, top), resized)
    return picture


def _open(file: Path) -> Image.Image:
    try:
        with Image.open(file) as picture:
            return picture.convert("RGBA")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} can't be read as a picture: {error}.") from error
