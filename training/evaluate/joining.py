"""Fit the head that joins the others' evidence: weights, prior, temperature and thresholds."""

import zlib
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy.optimize import minimize_scalar

from app.vision.imaging.crops import CropShape
from app.vision.models.cards import Head, Join
from app.vision.models.classifiers import (
    MirrorAveraging,
    Network,
    choose_thresholds,
    join_heads,
    read_answers,
)
from training.datasets.loading import Split
from training.evaluate import Figures, Heads, Logits
from training.evaluate.end_to_end import cut_main_faces
from training.evaluate.metrics import measure_given, measure_share
from training.evaluate.network import run_network, true_labels
from training.recipe import JOINED, Recipe

WEIGHTS = np.linspace(0, 1, 11)  # of the first head; the second has the rest
STRENGTHS = np.linspace(0, 1.5, 16)  # of the correction by the prior
THRESHOLDS = np.linspace(0.3, 0.99, 139)
FEWEST = 30  # labelled photos of a class that counts when weights are chosen
FOLDS = 5
COVERAGES = np.linspace(1, 0.5, 11)


@dataclass(frozen=True)
class Evidence:
    """Hold the network's logits for labelled faces: (count, classes) a head, and labels (count,).

    Labels are indices into the joined head's classes; `people`, str (count,), name the persons
    where they are known.
    """

    logits: Logits
    labels: np.ndarray
    people: np.ndarray | None = None

    def take(self, chosen: np.ndarray) -> "Evidence":
        """Return the chosen faces: bool (count,)."""
        return replace(
            self,
            logits={name: values[chosen] for name, values in self.logits.items()},
            labels=self.labels[chosen],
            people=None if self.people is None else self.people[chosen],
        )

    def read(self, heads: Heads, head: Head) -> np.ndarray:
        """Return the probabilities of a joined head, float64 (count, classes)."""
        return read_answers(head, join_heads(heads | {JOINED: head}, self.logits)[JOINED])


# Validation "faces", faces of whole photos of a "natural" mix, and of photos "by_class".
Evidences = dict[str, Evidence]


def gather_evidence(
    recipe: Recipe, head: Head, network: Network, logits: Logits, split: Split
) -> Evidences:
    """Read the faces that a joined head is fitted on; `logits` are those of the split."""
    labels = true_labels(head, split)
    faces = Evidence(logits, labels).take(labels >= 0)
    shape = CropShape(recipe.data.size, recipe.data.channels, recipe.data.margin)
    assert recipe.data.photos
    assert recipe.join
    averaging = MirrorAveraging(network) if recipe.mirror_averaging else network
    evidences = {"faces": faces}
    for name, folder in (("natural", recipe.data.photos), ("by_class", recipe.join.photos)):
        crops, names, people = cut_main_faces(folder, recipe.task, shape)
        indices = np.array([head.classes.index(each) for each in names])
        evidences[name] = Evidence(run_network(averaging, crops), indices, people)
    return evidences


def fit_join(recipe: Recipe, heads: Heads, evidences: Evidences) -> Head:
    """Fit the head that joins the calibrated `heads`.

    Weights, strength and temperature minimise the negative log-likelihood of the photos' labels:
    the natural mix weighs as much as all classes of the other photos, and these classes weigh the
    same. The threshold is the lowest at which confident answers reach both of the recipe's
    precisions on the photos. A class whose answers on the validation faces would be right less
    often than `target_precision` has a higher one.
    """
    assert recipe.join is not None
    head, labels = heads[JOINED], evidences["faces"].labels
    # The splits of FER2013 are random: the validation part has the training part's prior.
    shares = np.bincount(labels, minlength=len(head.classes)) / len(labels)
    prior = {n: round(float(each), 4) for n, each in zip(head.classes, shares, strict=True)}
    tried = []
    for first, strength in product(WEIGHTS, STRENGTHS):
        both = (round(float(weight), 4) for weight in (first, 1 - first))
        weights = dict(zip(recipe.join.heads, both, strict=True))
        join = Join(weights=weights, prior=prior, strength=round(float(strength), 4))
        joined = head.model_copy(update={"join": join})
        tried.append(_fit_temperature(heads, joined, evidences))
    _, best = min(tried, key=lambda each: each[0])
    return _select_thresholds(recipe, heads, best, evidences)


def _fit_temperature(heads: Heads, head: Head, evidences: Evidences) -> tuple[float, Head]:
    """Return the least loss over temperatures, and the head with that temperature."""
    single = head.model_copy(update={"temperature": 1.0})
    parts = []
    for evidence, balanced in ((evidences["natural"], False), (evidences["by_class"], True)):
        counts = np.bincount(evidence.labels, minlength=len(head.classes))
        weights = (counts >= FEWEST) / np.maximum(counts, 1) if balanced else np.ones(len(counts))
        weights = weights[evidence.labels] / weights[evidence.labels].sum()
        parts.append((np.log(evidence.read(heads, single)), evidence.labels, weights))

    def loss(temperature: float) -> float:
        total = 0.0
        for log, labels, weights in parts:
            scaled = log / temperature
            chosen = scaled[np.arange(len(labels)), labels] - np.logaddexp.reduce(scaled, axis=1)
            total -= float((weights * chosen).sum())
        return total

    found = minimize_scalar(loss, bounds=(0.2, 3), method="bounded")
    return found.fun, head.model_copy(update={"temperature": round(float(found.x), 4)})


def _select_thresholds(recipe: Recipe, heads: Heads, head: Head, evidences: Evidences) -> Head:
    """Return the head with its threshold, and with the higher ones of classes that need them."""
    assert recipe.join is not None
    natural, by_class, faces = (
        (evidences[name].read(heads, head), evidences[name].labels)
        for name in ("natural", "by_class", "faces")
    )
    on_photos, of_classes = recipe.join.precision_on_photos, recipe.join.precision_by_class
    threshold = _lowest_threshold(((*natural, on_photos), (*by_class, of_classes)))
    higher = {}
    for index, name in enumerate(head.classes):
        own = faces[0].argmax(axis=1) == index
        answered = ((faces[0][own], faces[1][own], recipe.target_precision),)
        if (chosen := _lowest_threshold(answered, threshold)) > threshold:
            higher[name] = round(chosen, 4)
    return head.model_copy(update={"threshold": round(threshold, 4), "class_thresholds": higher})


def _lowest_threshold(
    asked: tuple[tuple[np.ndarray, np.ndarray, float], ...], least: float = 0.0
) -> float:
    """Return the lowest threshold at which all probabilities' answers reach their precisions."""
    for threshold in THRESHOLDS[least <= THRESHOLDS]:
        for probabilities, labels, precision in asked:
            given = probabilities.max(axis=1) >= threshold
            right = (probabilities.argmax(axis=1) == labels)[given]
            if given.any() and right.mean() < precision:
                break
        else:
            return float(threshold)
    return 1.0


def cross_validate(recipe: Recipe, heads: Heads, evidences: Evidences) -> dict[str, Figures]:
    """Measure the joined head on people of whose photos nothing was fitted.

    The photos' people are dealt into `FOLDS` folds; each fold is read by a head that was fitted on
    the others. Returns the figures of `measure_given` for the natural mix and for the photos by
    class.
    """
    answers: dict[str, list[np.ndarray]] = {"natural": [], "by_class": []}
    for fold in range(FOLDS):
        held = {name: _deal(evidences[name]) == fold for name in answers}
        rest = {name: evidences[name].take(~held[name]) for name in answers}
        head = fit_join(recipe, heads, evidences | rest)
        for name, found in answers.items():
            unseen = evidences[name].take(held[name])
            probabilities = unseen.read(heads, head)
            right = probabilities.argmax(axis=1) == unseen.labels
            given = probabilities.max(axis=1) >= choose_thresholds(head, probabilities)
            found.append(np.stack([right, given]))
    return {name: measure_given(*np.concatenate(found, axis=1)) for name, found in answers.items()}


def _deal(evidence: Evidence) -> np.ndarray:
    """Return each photo's fold, int (count,): all photos of a person are in one."""
    assert evidence.people is not None
    return np.array([zlib.crc32(name.encode()) % FOLDS for name in evidence.people])


def measure_risks(
    heads: Heads, head: Head, evidences: Evidences
) -> dict[str, list[dict[str, float]]]:
    """Measure risk against coverage: how many of the most probable answers are right.

    Returns, for each set of faces, rows of `coverage` (the share that is answered), `threshold`
    (the least probability among them) and `right`, with its 95% interval.
    """
    return {n: _measure_risk(each.read(heads, head), each.labels) for n, each in evidences.items()}


def _measure_risk(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, float]]:
    best = probabilities.max(axis=1)
    order = np.argsort(-best)
    right = (probabilities.argmax(axis=1) == labels)[order]
    rows = []
    for coverage in COVERAGES:
        count = max(1, round(coverage * len(right)))
        threshold = round(float(best[order[count - 1]]), 4)
        row = {"coverage": round(float(coverage), 2), "threshold": threshold}
        rows.append({**row, **measure_share(right[:count], "right")})
    return rows
