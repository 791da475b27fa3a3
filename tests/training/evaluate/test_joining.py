import numpy as np
import pytest

from app.vision.models.cards import Head
from training.datasets.loading import VOTED_CLASSES, Split
from training.evaluate.calibration import calibrate
from training.evaluate.joining import Evidence, Evidences, cross_validate, fit_join, measure_risks
from training.export.exporting import describe_heads
from training.recipe import JOINED, Recipe, load_recipe

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
PRIOR = np.array([0.1, 0.02, 0.08, 0.3, 0.3, 0.1, 0.1])
CLEARNESS = 2.2  # of the class among the noise that each head sees


def make_evidence(prior: np.ndarray, count: int, seed: int) -> Evidence:
    """Sample faces whose heads saw different noise, and learned the frequent classes by heart."""
    random = np.random.default_rng(seed)
    labels = random.choice(len(prior), count, p=prior / prior.sum())
    logits = {}
    for name, names in (("original", CLASSES), ("ferplus", tuple(VOTED_CLASSES))):
        seen = random.normal(0, 1, (count, len(names)))
        order = np.array([names.index(each) for each in CLASSES])
        seen[np.arange(count), order[labels]] += CLEARNESS
        seen[:, order] = CLEARNESS * seen[:, order] + np.log(PRIOR)
        logits[name] = seen
    people = np.array([f"person {index % 97}" for index in range(count)])
    return Evidence(logits, labels, people)


@pytest.fixture(scope="module")
def evidences() -> Evidences:
    even = np.ones(len(CLASSES))
    sets = {"faces": (PRIOR, 2000), "natural": (PRIOR, 500), "by_class": (even, 500)}
    return {name: make_evidence(*each, seed) for seed, (name, each) in enumerate(sets.items(), 1)}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("expression")


@pytest.fixture(scope="module")
def heads(recipe: Recipe, evidences: Evidences) -> dict[str, Head]:
    nothing = np.zeros((0, 48, 48, 1), np.uint8)
    split = Split(nothing, np.zeros(0, np.int64), CLASSES, (), None)
    classes = {"original": CLASSES, "ferplus": tuple(VOTED_CLASSES)}
    described = describe_heads(recipe, classes, split)
    for name in classes:
        order = [described[name].answerable.index(each) for each in CLASSES]
        labels = np.array(order)[evidences["faces"].labels]
        described[name] = calibrate(described[name], evidences["faces"].logits[name], labels)
    described[JOINED] = fit_join(recipe, described, evidences)
    return described


def share_right(head: Head, probabilities: np.ndarray, evidence: Evidence) -> float:
    order = np.array([head.classes.index(each) for each in CLASSES])
    return float((probabilities[:, order].argmax(axis=1) == evidence.labels).mean())


def test_a_joined_head_is_right_more_often_than_either_of_its_heads(
    heads: dict[str, Head], evidences: Evidences
) -> None:
    unseen = make_evidence(np.ones(len(CLASSES)), 2000, 4)
    joined = share_right(heads[JOINED], unseen.read(heads, heads[JOINED]), unseen)
    for name in ("original", "ferplus"):
        assert joined > share_right(heads[name], unseen.logits[name], unseen) + 0.05
    join = heads[JOINED].join
    assert join
    assert join.strength > 0.3
    assert all(0.25 < weight < 0.75 for weight in join.weights.values())


def test_confident_answers_are_as_precise_as_the_recipe_asks(
    recipe: Recipe, heads: dict[str, Head], evidences: Evidences
) -> None:
    assert recipe.join
    held = cross_validate(recipe, heads, evidences)
    for name, asked in (
        ("natural", recipe.join.precision_on_photos),
        ("by_class", recipe.join.precision_by_class),
    ):
        low, high = held[name]["accuracy_of_answers_given_interval"]
        assert low <= held[name]["accuracy_of_answers_given"] <= high
        assert high >= asked
        assert held[name]["unanswered"] < 0.6


def test_fewer_answers_are_right_more_often(heads: dict[str, Head], evidences: Evidences) -> None:
    for rows in measure_risks(heads, heads[JOINED], evidences).values():
        assert rows[0]["coverage"] == 1
        assert rows[-1]["right"] > rows[0]["right"]
        assert [row["threshold"] for row in rows] == sorted(row["threshold"] for row in rows)
