"""Compare how often Raut and similar libraries are right, on the same labelled photos."""

import math
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from app.intervals import wilson_interval
from bench import BenchmarkError
from bench.drivers import Driver, started
from bench.environments import Installed
from training.datasets.composites import split_people
from training.evaluate.end_to_end import SEED, LabelledPhoto, list_photos
from training.recipe import DataError

# Folder → the tasks that its photos are labelled for. No network learned from the faces of either,
# but the face classifier from half of the first one's people.
SETS = {"photos": ("expression", "gender"), "wild": ("expression",)}
SAME_NAMES = {"fearful": "fear", "disgusted": "disgust", "surprised": "surprise"}
NO_FACE = ""
BORDER = 0.5  # of the longer side: face-api finds 4% of faces that fill their picture
FEWEST = 30  # labelled photos of a class that counts in the mean of recalls


def list_unseen_photos(data: Path, limit: int | None) -> dict[str, list[LabelledPhoto]]:
    """List the photos of each set in DATA of whose people nothing was learned, at most `limit`.

    Raises `BenchmarkError` if one is missing.
    """
    sets = {}
    for name in SETS:
        try:
            photos = list_photos(data / name)
        except DataError as error:
            raise BenchmarkError(str(error)) from error
        if name == "photos":
            unseen = set(split_people([photo.file for photo in photos], "validation", SEED))
            photos = [photo for photo in photos if photo.file in unseen]
        step = max(1, math.ceil(len(photos) / limit)) if limit else 1
        sets[name] = photos[::step]
    return sets


def measure_accuracy(
    peers: Mapping[str, Installed], sets: Mapping[str, list[LabelledPhoto]]
) -> dict[str, Any]:
    """Let each peer read the face nearest to each photo's centre; a missed face is an error.

    All see the same photos, with a grey border.

    Returns `tables`, a row for each peer by set and task, and `failed`, peer → why.
    """
    tables: dict[str, Any] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        bordered = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "photo.png"
        drivers = {n: stack.enter_context(started(each.command)) for n, each in peers.items()}
        for name, photos in sets.items():
            for peer, driver in drivers.items():
                if peer in failed:
                    continue
                try:
                    faces = [_read_main_face(driver, photo.file, bordered) for photo in photos]
                except BenchmarkError as error:
                    failed[peer] = str(error)
                    continue
                for task in SETS[name]:
                    if any(task in face for face in faces):
                        row = _measure(task, photos, faces)
                        tables.setdefault(f"{name}, {task}", {})[peer] = row
    return {"tables": tables, "failed": failed}


def _read_main_face(driver: Driver, file: Path, bordered: Path) -> dict[str, Any]:
    """Return the peer's face nearest to the photo's centre; none: an empty dictionary."""
    with Image.open(file) as photo:
        upright = ImageOps.exif_transpose(photo).convert("RGB")
    picture = ImageOps.expand(upright, round(BORDER * max(upright.size)), fill="grey")
    picture.save(bordered)
    middle = (picture.width / 2, picture.height / 2)
    _, answer = driver.analyze(bordered)

    def distance(face: dict[str, Any]) -> float:
        x, y, width, height = face["box"]
        return math.dist((x + width / 2, y + height / 2), middle)

    return min(answer["faces"], key=distance, default={})


def _measure(
    task: str, photos: list[LabelledPhoto], faces: list[dict[str, Any]]
) -> dict[str, str | int]:
    labelled = [(p.labels[task], face) for p, face in zip(photos, faces, strict=True)]
    labels = np.array([label for label, _ in labelled if label])
    answers = np.array([str(face.get(task, NO_FACE)) for label, face in labelled if label])
    right = np.array([SAME_NAMES.get(each, each) for each in answers]) == labels
    unsure = np.array([task in face.get("unsure", ()) for label, face in labelled if label])
    recalls = [
        right[labels == name].mean()
        for name in np.unique(labels)
        if (labels == name).sum() >= FEWEST
    ]
    return {
        "photos": len(labels),
        "found": _share(answers != NO_FACE),
        "right": _share(right),
        "mean of recalls": f"{np.mean(recalls):.1%}" if recalls else "-",
        "right when answered": _share(right[~unsure]),
        "unanswered": _share(unsure),
    }


def _share(hits: np.ndarray) -> str:
    if not len(hits):
        return "-"
    low, high = wilson_interval(int(hits.sum()), len(hits))
    return f"{hits.mean():.1%} ({100 * low:.0f} to {100 * high:.0f})"
