"""Teach new classes from a folder: a head on a frozen network's features, within minutes.

A class is a folder of pictures. Pictures in a sub-folder of it are of one person or recording, and
are held out together with those of the same sub-folder in other classes; other pictures alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tomli_w
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from app.errors import RautError
from app.files import atomic_write
from app.intervals import wilson_interval
from app.settings import count_processors
from app.vision.geometry import softmax
from app.vision.models.cards import CARD, NAME, NONE_OF_THESE, Card, Head, LocalizedText, load_card
from app.vision.models.classifiers import read_probabilities
from app.vision.models.files import hash_file
from app.vision.pipeline import FaceAnalyzer
from app.vision.teaching import (
    HEAD,
    MOST_CLASSES,
    MOST_LETTERS,
    NOT_FOR,
    RESERVED,
    WORDS,
    Sample,
    TaughtHead,
    Teacher,
    are_alike,
    describe_purpose,
    make_folder,
)
from training.datasets.loading import list_pictures
from training.datasets.splitting import hold_out
from training.evaluate.calibration import calibrate, select_threshold
from training.evaluate.metrics import RESAMPLES, measure_answers
from training.recipe import DataError, Recipe, parse_recipe

FOLDS = 5
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # C of scikit-learn, the inverse of the L2 penalty
PRECISION = 0.95  # of the answers given, by cross-validation
COUNTS = (5, 10, 20, 50)  # samples a class of the curve
DRAWS = 20  # of each count
MOST_OF_GROUP = 2  # samples of one person or recording among those of the curve
EPOCHS, BATCH, RATE, EMA_DECAY = 20, 32, 0.005, 0.95  # of fine-tuning: few pictures, fitted weights

Tell = Callable[[str], None]
Linear = tuple[np.ndarray, np.ndarray]  # weights (classes, length) and bias (classes,)


@dataclass(frozen=True)
class Lesson:
    """Hold the samples of a folder: labels and groups int64 (count,), a group held out whole."""

    classes: list[str]
    samples: list[Sample]
    labels: np.ndarray
    groups: np.ndarray

    @property
    def words(self) -> dict[str, LocalizedText]:
        """Return the words of each class: as its folder is called, in both languages."""
        return {name: LocalizedText(en=name, id=name) for name in self.classes}

    @property
    def features(self) -> np.ndarray:
        """Return float32 (count, length)."""
        return np.stack([sample.features for sample in self.samples])


# Threads of these small products would only wait for each other.
@threadpool_limits.wrap(limits=1, user_api="blas")
def teach(
    analyzer: FaceAnalyzer, folder: Path, name: str, region: str, out: Path, tell: Tell, curve: bool
) -> None:
    """Write the model folder of the classes in a folder; measure it by grouped cross-validation.

    With `curve`, also tell the accuracy on groups not seen by the number of samples. Raises
    `DataError` for a folder or name that can't be taught, `RautError` for an unserved region.
    """
    check_name(name, out)
    teacher = Teacher(analyzer)
    network = teacher.network(region)
    lesson = read_lesson(teacher, folder, region, tell)
    (weights, bias), strength, logits = fit_by_folds(lesson)
    head = calibrate(Head(classes=lesson.classes), logits, lesson.labels)
    _, probabilities = read_probabilities(head, logits)
    right = probabilities.argmax(axis=1) == lesson.labels
    threshold = select_threshold(probabilities.max(axis=1), right, PRECISION)
    limits = np.full(len(right), threshold)
    figures = measure_answers(probabilities, lesson.labels, lesson.classes, limits)
    figures["accuracy_interval"] = group_interval(right, lesson.groups)
    figures["recordings"] = len(np.unique(lesson.groups))
    counts = np.bincount(lesson.labels)
    told = ", ".join(f"{n} of {label}" for n, label in zip(counts, lesson.classes, strict=True))
    command = f"python -m training teach {folder} --name {name} --region {region}"
    taught = TaughtHead(
        name=name,
        labels=lesson.words,
        weights=weights.astype(np.float32),
        bias=bias.astype(np.float32),
        temperature=head.temperature,
        threshold=threshold,
        figures=figures,
        source=f"The folder {folder.name}: {told}; {figures['recordings']} recordings.",
        command=command,
    )
    files = make_folder(network, taught)
    out.mkdir(parents=True, exist_ok=True)
    for file in sorted(files, key=lambda each: each == CARD):  # the card last
        atomic_write(out / file, methodcaller("write", files[file]))
    low, high = figures["accuracy_interval"]
    interval = f"{low:.1%} to {high:.1%}"
    tell(f"{figures['accuracy']:.1%} right by cross-validation ({interval}), C {strength:g}")
    tell(f"{figures['unanswered']:.1%} unsure below {threshold:.2f}; written to {out}")
    if curve:
        for count, mean, spread in learning_curve(lesson, strength):
            tell(f"{count:>4} a class: {mean:.1%} (deviation {spread:.1%} over {DRAWS} draws)")


def choose_body(cards: dict[str, Card], region: str) -> list[str]:
    """Name the models whose features serve a region."""
    return [name for name, card in cards.items() if card.features and card.region == region]


def check_name(name: str, out: Path) -> None:
    """Raise `DataError` for a name that no model may have, or that one of Raut's own has."""
    if not re.fullmatch(NAME, name):
        raise DataError(
            f"{name!r} is no name for a model: up to 32 small letters, digits, - and _, of which "
            "the first is a letter."
        )
    if name in RESERVED or ((out / CARD).is_file() and not load_card(out).labels):
        raise DataError(f"{name!r} is the name of something else in Raut. Choose another.")


def read_lesson(teacher: Teacher, folder: Path, region: str, tell: Tell) -> Lesson:
    """Read the samples of a folder of classes. Raises `DataError`."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise DataError(
            f"{folder} has {len(classes)} folders. Give each class one: 2 to {MOST_CLASSES}."
        )
    if are_alike(classes):
        raise DataError(f"Two folders of {folder} have names alike. Rename one.")
    for name in classes:
        if len(name) > MOST_LETTERS or not re.fullmatch(WORDS, name) or name == NONE_OF_THESE:
            raise DataError(
                f"{name!r} is no name for a class: up to {MOST_LETTERS} characters without < > & "
                f"and quotes, and not {NONE_OF_THESE}. Rename the folder."
            )
    files = [
        (file, label, file.parent.name if file.parent != folder / name else str(file))
        for label, name in enumerate(classes)
        for place in (folder / name, *sorted(p for p in (folder / name).iterdir() if p.is_dir()))
        for file in list_pictures(place)
    ]
    known: dict[str, tuple[Path, int]] = {}
    for file, label, _ in files:
        twin, of = known.setdefault(hash_file(file.read_bytes()), (file, label))
        if of != label:
            raise DataError(f"{twin} and {file} are one picture in two classes. Remove one.")

    def read(file: Path) -> Sample | str:
        try:
            return teacher.read(file.read_bytes(), region) or "no face found"
        except RautError as error:
            return error.detail

    with ThreadPoolExecutor(count_processors()) as pool:
        read_samples = list(pool.map(read, [file for file, _, _ in files]))
    kept = []
    for (file, label, group), sample in zip(files, read_samples, strict=True):
        if isinstance(sample, str):
            tell(f"{file} is left out: {sample}")
        else:
            kept.append((sample, label, group))
    for label, name in enumerate(classes):
        if len({group for _, of, group in kept if of == label}) < 2:
            raise DataError(
                f"The class {name!r} needs samples of two or more people or recordings."
            )
    samples, labels, groups = zip(*kept, strict=True)
    numbers = np.unique(groups, return_inverse=True)[1]
    return Lesson(classes, list(samples), np.array(labels), numbers)


class Space:
    """Standardise features, and rotate them onto the span of the samples.

    A penalised fit lies in that span, so that one with as many unknowns as samples is the same and
    takes a tenth of the time.
    """

    def __init__(self, features: np.ndarray) -> None:
        wide = features.astype(np.float64)
        deviation = wide.std(axis=0)
        self._mean = wide.mean(axis=0)
        self._scale = np.where(deviation > 0, deviation, 1.0) * np.sqrt(wide.shape[1])
        left, sizes, self._axes = np.linalg.svd((wide - self._mean) / self._scale, False)
        self.points = left * sizes

    def unfold(self, weights: np.ndarray, bias: np.ndarray) -> Linear:
        """Return a head of the points as one of the features."""
        unfolded = weights @ self._axes / self._scale
        return unfolded, bias - unfolded @ self._mean


def fit_by_folds(lesson: Lesson) -> tuple[Linear, float, np.ndarray]:
    """Fit the head whose strength has the least log loss on the folds held out.

    Returns it, fitted to all samples, its L2 strength, and the logits of each sample by the fit
    without its fold, float64 (count, classes). The folds that choose among the strengths also
    measure the result, and all samples are standardised together, which sees no label.
    """
    space, labels, classes = Space(lesson.features), lesson.labels, len(lesson.classes)
    fewest = min(len(set(lesson.groups[labels == label])) for label in range(classes))
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=0)
    parts = list(folds.split(space.points, labels, lesson.groups))
    held: dict[float, np.ndarray] = {}
    for strength in STRENGTHS:
        held[strength] = np.zeros((len(labels), classes))
        for train, validation in parts:
            weights, bias = _fit(space.points[train], labels[train], strength, classes)
            held[strength][validation] = space.points[validation] @ weights.T + bias
    best = min(STRENGTHS, key=lambda each: log_loss(labels, softmax(held[each])))
    return space.unfold(*_fit(space.points, labels, best, classes)), best, held[best]


def fit_head(features: np.ndarray, labels: np.ndarray, strength: float, classes: int) -> Linear:
    """Return weights (classes, length) and bias (classes,) of multinomial logistic regression.

    `strength` is scikit-learn's C for standardised features over the root of their number.
    """
    space = Space(features)
    return space.unfold(*_fit(space.points, labels, strength, classes))


def _fit(points: np.ndarray, labels: np.ndarray, strength: float, classes: int) -> Linear:
    """Return the weights and bias of each class; one that a fold lacks is never answered."""
    model = LogisticRegression(C=strength, max_iter=1000).fit(points, labels)
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn gives one row for both
        weights, bias = np.array([[-0.5], [0.5]]) * weights, np.array([-0.5, 0.5]) * bias
    every, offsets = np.zeros((classes, points.shape[1])), np.full(classes, -1e3)
    every[model.classes_], offsets[model.classes_] = weights, bias
    return every, offsets


def group_interval(right: np.ndarray, groups: np.ndarray) -> list[float]:
    """Return the 95% interval of the share of right answers, by resampling whole groups."""
    hits, sizes = np.bincount(groups, right), np.bincount(groups)
    if hits.sum() in (0, sizes.sum()):  # resampled, these have no spread
        low, high = wilson_interval(round(right.mean()) * len(sizes), len(sizes))
        return [round(low, 4), round(high, 4)]
    drawn = np.random.default_rng(0).integers(0, len(sizes), (RESAMPLES, len(sizes)))
    shares = hits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(shares, [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def learning_curve(lesson: Lesson, strength: float) -> Iterator[tuple[int, float, float]]:
    """Yield the mean recall on groups not seen, and its deviation, for each number of samples."""
    features, labels, classes = lesson.features, lesson.labels, range(len(lesson.classes))
    for count in COUNTS:
        shares = []
        for seed in range(DRAWS):
            order = np.random.default_rng(seed).permutation(len(labels))
            train = [index for label in classes for index in _draw(order, label, count, lesson)]
            tested = ~np.isin(lesson.groups, lesson.groups[train])
            if len(train) < count * len(classes) or set(labels[tested]) != set(classes):
                return
            weights, bias = fit_head(features[train], labels[train], strength, len(classes))
            right = (features @ weights.T + bias).argmax(axis=1) == labels
            shares.append(np.mean([right[tested & (labels == each)].mean() for each in classes]))
        yield count, float(np.mean(shares)), float(np.std(shares))


def _draw(order: np.ndarray, label: int, count: int, lesson: Lesson) -> list[int]:
    """Return the first samples of a class in an order, a few of each group."""
    drawn: list[int] = []
    for index in order[lesson.labels[order] == label]:
        of_group = lesson.groups[drawn] == lesson.groups[index]
        if of_group.sum() < MOST_OF_GROUP and len(drawn) < count:
            drawn.append(int(index))
    return drawn


def write_recipe(
    analyzer: FaceAnalyzer, folder: Path, name: str, region: str, out: Path, tell: Tell
) -> Path:
    """Write a recipe that fine-tunes the whole network on a folder of classes, and its crops.

    The crops go to OUT/data, a fifth of each class, by whole groups, to validation. Returns the
    recipe's path. Raises as `teach`.
    """
    check_name(name, out)
    teacher = Teacher(analyzer)
    body = analyzer.classifiers[teacher.network(region).name]
    lesson = read_lesson(teacher, folder, region, tell)
    named = [lesson.classes[label] for label in lesson.labels]
    validation = hold_out(named, lesson.groups, 1 / FOLDS, 1)
    for index, (sample, held) in enumerate(zip(lesson.samples, validation, strict=True)):
        place = out / "data" / ("validation" if held else "train") / named[index]
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{index:05}.png"), sample.crop[:, :, ::-1])
    recipe = _derive_recipe(body.card.training["recipe"], lesson, name, out)
    values = recipe.model_dump(mode="json", exclude_defaults=True)
    values["network"]["init_from"] = str(body.folder)
    path = out / f"{name}.toml"
    atomic_write(path, methodcaller("write", tomli_w.dumps(values).encode()))
    return path


def _derive_recipe(values: dict[str, Any], lesson: Lesson, name: str, out: Path) -> Recipe:
    of_body = parse_recipe(values)
    schedule = of_body.schedule.model_dump(include={"optimizer", "momentum", "weight_decay"})
    schedule |= {"epochs": EPOCHS, "batch": BATCH, "learning_rate": RATE, "ema_decay": EMA_DECAY}
    return parse_recipe(
        {
            "name": name,
            "task": name,
            "region": of_body.region,
            "seed": of_body.seed,
            "purpose": describe_purpose(of_body.region, lesson.words).model_dump(),
            "not_for": NOT_FOR.model_dump(),
            "default_head": HEAD,
            "target_precision": PRECISION,
            "data": {
                **of_body.data.model_dump(include={"channels", "size", "margin"}),
                "stored_size": of_body.data.size,
                "folder": str(out / "data"),
                "source": "the folder that was taught",
                "licence": "as its pictures",
            },
            "heads": {HEAD: {"targets": "labels"}},
            "network": of_body.network.model_dump(include={"name", "options"}),
            "schedule": schedule,
            "augmentation": of_body.augmentation.model_dump(),
        }
    )
