"""Choose which faces a model no longer reads, and measure how many hidden ones it still answers."""

from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.vision.detection.detector import FACE_CLASSIFIER
from app.vision.detection.face_classifier import FaceClassifier
from app.vision.imaging.decoding import LazyImage
from app.vision.models.cards import VisibilityLimits
from app.vision.models.classifiers import Classifier
from app.vision.models.visibility import measure_light, measure_sharpness
from app.vision.pipeline import read_faces
from app.vision.tracing import Trace
from training.datasets.composites import read_grey
from training.datasets.hard_faces import KINDS, SMALL, read_hard_photos
from training.datasets.loading import Split, read_picture
from training.evaluate.end_to_end import SERVED
from training.evaluate.metrics import measure_share
from training.evaluate.network import true_labels
from training.evaluate.robustness import Change, shrink

SPREAD = 1200  # validation faces, evenly spaced
NOISE = 2.0  # standard deviation of a camera's noise in grey levels, which darkness doesn't dim


def _shrink(crops: np.ndarray, side: float) -> np.ndarray:
    return np.stack([shrink(crop, side).reshape(crop.shape) for crop in crops])


def _blur(crops: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(crop, (0, 0), sigma).reshape(crop.shape) for crop in crops])


def _darken(crops: np.ndarray, factor: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, NOISE, crops.shape)
    return np.clip(np.round(crops * factor + noise), 0, 255).astype(np.uint8)


Measure = Callable[[np.ndarray, float], float]
DARKER, BLURRIER = (0.5, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03), (0.5, 1, 1.5, 2, 2.5, 3, 4, 5)
# A change of crops, its levels, mildest first, and the number of a crop that the limit bounds.
DEGRADATIONS: dict[str, tuple[Change, tuple[float, ...], Measure]] = {
    "tiny": (_shrink, (40, 32, 28, 24, 20, 16, 14, 12, 10, 8), lambda _, side: side),
    "dark": (_darken, DARKER, lambda crop, _: measure_light(crop)),
    "blurred": (_blur, BLURRIER, lambda crop, _: measure_sharpness(crop)),
}


def fit_visibility(classifier: Classifier, split: Split, least: float) -> VisibilityLimits:
    """Return the limits below which confident answers would be right in fewer than `least`.

    Each limit lies halfway between the last level of its degradation at which confident answers
    are right often enough, and the next. A limit is 0 where none is needed at any level.
    """
    every = max(1, len(split.labels) // SPREAD)
    faces = split.subset(np.arange(0, len(split.labels), every))
    labels = true_labels(classifier.head, faces)
    faces, labels = faces.subset(labels >= 0), labels[labels >= 0]
    answers = classifier.head.labels
    limits = {}
    for name, (change, levels, measure) in DEGRADATIONS.items():
        last, limits[name] = None, 0.0
        for level in levels:
            crops = change(faces.pictures, level)
            measured = float(np.median([measure(crop, level) for crop in crops]))
            predictions = classifier.predict(crops)
            given = np.array([each.confident for each in predictions])
            right = np.array([answers.index(each.label) for each in predictions]) == labels
            if given.any() and right[given].mean() < least:
                limits[name] = round(measured if last is None else (measured + last) / 2, 3)
                break
            last = measured
    # A box has a margin less than its crop.
    limits["tiny"] = round(limits["tiny"] / (1 + 2 * classifier.card.margin), 1)
    return VisibilityLimits(**limits)


def measure_hidden(classifier: Classifier, folder: Path) -> list[dict[str, Any]]:
    """Measure how many faces of each kind in hard-faces' validation photos stay unanswered.

    Each is read where it is labelled, with the served face classifier's reasons. Returns the
    `kind`, and the figures of `measure_share`.
    """
    faces = FaceClassifier.load(SERVED / FACE_CLASSIFIER)
    unanswered, kinds = [], []
    for photo in read_hard_photos(folder.parent, "validation"):
        known = [face for face in photo.faces if face.certain and face.box.side >= SMALL[0]]
        if not known:
            continue
        squares = np.array([astuple(face.box)[:4] for face in known], np.float32)
        found = faces.classify(read_grey(photo.file), squares, mirrored=True).to_detections()
        image = LazyImage.of(read_picture(photo.file))
        readings = read_faces(image, found, [classifier], Trace(), True)
        for face, reading in zip(known, readings, strict=True):
            unanswered.append(not reading.predictions[classifier.card.task].confident)
            kinds.append([kind for kind, holds in KINDS.items() if holds(face)])
    return [
        {"kind": kind, **measure_share(np.array(own), "unanswered")}
        for kind in KINDS
        if (own := [each for each, names in zip(unanswered, kinds, strict=True) if kind in names])
    ]
