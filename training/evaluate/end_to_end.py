"""Measure end to end: the served pipeline on whole photos with labelled faces."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.vision.detection.detector import FaceDetector
from app.vision.imaging.crops import CropShape, cut_from_photo
from app.vision.imaging.decoding import LazyImage
from app.vision.models.cards import Card, load_card
from app.vision.models.classifiers import Classifier, load_classifier
from app.vision.pipeline import read_faces
from app.vision.readings import Detection, FaceReading, Prediction
from app.vision.tracing import Trace
from training.datasets.composites import split_people
from training.datasets.loading import read_picture
from training.evaluate.metrics import measure_given, measure_share
from training.evaluate.reports import write_sheet
from training.recipe import DataError
from training.runs import read_csv

LABELS = "labels.csv"
GENDER = "gender"  # the column of the subgroups, for every task
PERSON = "person"  # the column of the person's name
SEED = 1  # the default of `data prepare faces`, which splits people by it
SERVED = Path("models")  # folder of the face classifier
TILE = 150  # side of a photo on a contact sheet, in pixels
TILES_PER_ROW = 8
LINE = 14  # height of a line of text on it


@dataclass(frozen=True)
class LabelledPhoto:
    """Hold a photo's file and the labels of its main face, by task."""

    file: Path
    labels: dict[str, str]


@dataclass(frozen=True)
class Result:
    """Pair a photo with the reading of its main face; None if no face was detected."""

    photo: LabelledPhoto
    reading: FaceReading | None

    def prediction(self, task: str) -> Prediction | None:
        """Return the main face's prediction for a task."""
        return self.reading.predictions[task] if self.reading else None

    def is_right(self, task: str) -> bool:
        """Return whether a face was detected and its prediction is the label."""
        prediction = self.prediction(task)
        return prediction is not None and prediction.label == self.photo.labels[task]


def list_photos(folder: Path) -> list[LabelledPhoto]:
    """List the photos of a folder with a `labels.csv`: file, and a column for each task.

    Raises `DataError` for a missing file or one without photos.
    """
    path = folder / LABELS
    if not path.is_file():
        raise DataError(f"{path} is missing: a CSV with the columns file, expression, gender.")
    rows = read_csv(path)
    if not rows:
        raise DataError(f"{path} names no photo.")
    return [LabelledPhoto(folder / row.pop("file"), row) for row in rows]


@cache
def find_main_face(file: Path) -> Detection | None:
    """Detect the faces of a photo as served; return the one nearest to its centre."""
    photo = LazyImage.of(read_picture(file))
    faces = _load_detector().detect(photo, "balanced")
    middle = (photo.width / 2, photo.height / 2)
    return min(
        faces,
        key=lambda face: math.dist(face.box.corners.reshape(2, 2).mean(axis=0), middle),
        default=None,
    )


_load_detector = cache(partial(FaceDetector.load, SERVED))


def read_photos(classifier: Classifier, photos: list[LabelledPhoto]) -> Iterator[Result]:
    """Read the main face of each photo."""
    for photo in photos:
        face = find_main_face(photo.file)
        image = LazyImage.of(read_picture(photo.file))
        readings = read_faces(image, [face] if face else [], [classifier], Trace(), True)
        yield Result(photo, readings[0] if readings else None)


def cut_main_faces(
    folder: Path, task: str, shape: CropShape
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut the main face of each labelled photo in which one is detected.

    Returns the crops, uint8 (count, size, size, channels), their labels and people, (count,).
    """
    found = [
        (
            cut_from_photo(LazyImage.of(read_picture(photo.file)), face, shape),
            photo.labels[task],
            photo.labels.get(PERSON) or photo.file.name,
        )
        for photo in list_photos(folder)
        if photo.labels.get(task) and (face := find_main_face(photo.file))
    ]
    crops, labels, people = map(np.array, zip(*found, strict=True))
    return crops, labels, people


def measure_photos(classifier: Classifier, folder: Path) -> dict[str, Any]:
    """Measure a classifier on labelled photos; a missed face counts as an error.

    Returns, with 95% intervals, the share of detected faces and the figures of `measure_given`;
    the accuracy on people that the detector was not trained on and by gender label; the balanced
    accuracy; and each label's count and recall.
    """
    task = classifier.card.task
    listed = list_photos(folder)
    photos = [photo for photo in listed if photo.labels.get(task)]
    if not photos:
        raise DataError(f"{folder / LABELS} has no column {task!r}.")
    answered = list(read_photos(classifier, photos))
    right = np.array([answer.is_right(task) for answer in answered])
    labels = np.array([photo.labels[task] for photo in photos])
    recall = {str(name): float(right[labels == name].mean()) for name in np.unique(labels)}
    given = np.array([bool((p := answer.prediction(task)) and p.confident) for answer in answered])
    # The detector's people were split with all photos, also those without this label.
    held_out = set(split_people([photo.file for photo in listed], "validation", SEED))
    unseen = np.array([photo.file in held_out for photo in photos])
    genders = np.array([photo.labels.get(GENDER) or "" for photo in photos])
    return {
        **measure_share(np.array([answer.reading is not None for answer in answered]), "found"),
        **measure_given(right, given),
        "unseen_by_detector": measure_share(right[unseen]) if unseen.any() else None,
        "genders": {
            str(name): measure_share(right[genders == name]) for name in np.unique(genders) if name
        },
        "balanced_accuracy": round(float(np.mean(list(recall.values()))), 4),
        "recall": {name: round(share, 4) for name, share in recall.items()},
        "labels": {name: int((labels == name).sum()) for name in recall},
    }


def evaluate_photos(model: Path, folder: Path, margins: list[float]) -> Iterator[dict[str, Any]]:
    """Measure each head of a model at each crop margin, by default the card's."""
    card = load_card(model)
    for head in list_task_heads(card):
        for margin in margins or [card.margin]:
            classifier = load_classifier(model, head=head)
            classifier.card = card.model_copy(update={"margin": margin})
            yield {"head": head, "margin": margin, **measure_photos(classifier, folder)}


def draw_contact_sheet(model: Path, folder: Path, path: Path, most: int | None = None) -> None:
    """Write a PNG of the photos that the default head gets wrong, the most probable answers first.

    Each has its label at the top and the heads' predictions below, in the card's order. There are
    at most `most`.
    """
    card = load_card(model)
    photos = [photo for photo in list_photos(folder) if photo.labels.get(card.task)]
    heads = list_task_heads(card)
    by_head = [read_photos(load_classifier(model, head=head), photos) for head in heads]
    own = heads.index(card.default_head)
    by_photo = zip(*by_head, strict=True)
    wrong = [answers for answers in by_photo if not answers[own].is_right(card.task)]
    predictions = [answers[own].prediction(card.task) for answers in wrong]
    order = np.argsort([-each.probability if each else 0.0 for each in predictions])[:most]
    tiles = [_draw_tile(wrong[index], card.task)[..., ::-1] for index in order]
    write_sheet(tiles, TILES_PER_ROW, path)


def _draw_tile(answers: tuple[Result, ...], task: str) -> np.ndarray:
    photo = answers[0].photo
    tile = cv2.resize(read_picture(photo.file), (TILE, TILE))
    lines = [(photo.labels[task], LINE)]
    for index, answer in enumerate(reversed(answers)):
        prediction = answer.prediction(task)
        text = f"{prediction.label} {prediction.probability:.2f}" if prediction else "no face"
        lines.append((text, TILE - 6 - index * LINE))
    for text, row in lines:
        for colour, width in (((0, 0, 0), 3), ((255, 255, 0), 1)):
            cv2.putText(tile, text, (3, row), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, width)
    return tile


def list_task_heads(card: Card) -> list[str]:
    """List the heads for the model's task: all but those that classify children."""
    return [name for name, head in card.heads.items() if head.targets != "children"]
