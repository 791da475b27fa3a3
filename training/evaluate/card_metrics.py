"""Measure all figures of a model folder's card from the data, at export and again in verifying."""

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from app.vision.imaging.crops import CropShape
from app.vision.models.cards import Card, Head, load_card
from app.vision.models.classifiers import (
    FILES,
    Classifier,
    choose_file,
    load_classifier,
    read_answers,
    select_thresholds,
)
from training.datasets.experiment import read_validation
from training.datasets.loading import Split, find_shared, read_split
from training.datasets.ood import read_ood, select_ood_threshold
from training.evaluate.calibration import calibrate_heads
from training.evaluate.end_to_end import list_task_heads, measure_photos
from training.evaluate.metrics import measure_share
from training.evaluate.network import measure_heads, right_answers, run_network
from training.evaluate.robustness import measure_robustness
from training.evaluate.subgroups import measure_subgroups
from training.export.quantization import compare
from training.fit.transfer import WITH_KERNELS
from training.recipe import Recipe, parse_recipe

PART = "validation"
SPEED = "speed"
FEWEST_IN_GROUP = 30  # a smaller group's rate says little
WEAK_RECALL = 0.6
WEAK_BELOW_ALL = 0.03  # a group this far below everybody is named as weak
WEAK_DROP = 0.1
WEAK_REFUSED = 0.9
TIMED_FACES = 200


def measure_model(folder: Path) -> dict[str, Any]:
    """Measure the model in a folder on the data that its card names.

    Returns the card's `figures`: the heads' own, groups, robustness, photos, speed and
    weaknesses, with the commands that measure them. Raises `DataError` where the data is
    missing, `ModelError` for a bad model.
    """
    card = load_card(folder)
    recipe = parse_recipe(card.training["recipe"])
    classifier = load_classifier(folder, threads=0)
    large = read_split(recipe.data.folder, PART, CropShape(recipe.data.stored_size, card.channels))
    part = read_split(recipe.data.folder, PART, card.shape)
    logits = run_network(classifier.network, part.pictures)
    figures: dict[str, Any] = {
        "part": PART,
        **name_command(folder),
        "heads": measure_heads(card, logits, part, _find_new(recipe, part)),
        "groups": _measure_groups(classifier, logits, part),
        "robustness": measure_robustness(
            large.pictures, card.shape, lambda crops: _measure_share(classifier, crops, part)
        ),
    }
    if FILES["int8"] in card.files:
        exact = run_network(load_classifier(folder, "onnx", threads=0).network, part.pictures)
        figures["quantization"] = compare(card.heads, exact, logits, part)
    if classifier.head.ood:
        figures["ood"] = _measure_outside(classifier, recipe, logits)
    if recipe.data.photos:
        figures["photos"] = {
            head: measure_photos(load_classifier(folder, head=head), recipe.data.photos)
            for head in list_task_heads(card)
        }
    figures[SPEED] = measure_speed(folder)
    figures["weaknesses"] = list_weaknesses(card, figures)
    return figures


def calibrate_model(folder: Path) -> dict[str, Head]:
    """Find the temperatures and limits of the model in a folder anew, on its validation part.

    Raises `DataError` where the data is missing, `ModelError` for a bad model.
    """
    card = load_card(folder)
    recipe = parse_recipe(card.training["recipe"])
    network = load_classifier(folder, threads=0).network
    part = read_validation(recipe)
    return calibrate_heads(recipe, card.heads, network, run_network(network, part.pictures), part)


def name_command(folder: Path) -> dict[str, str]:
    """Name the command that measures a model folder's figures, as the card has it."""
    return {"command": f"python -m training verify {folder.parent}"}


def measure_speed(folder: Path) -> dict[str, Any]:
    """Return the multiply-adds of one face, the served file's bytes, and milliseconds a face.

    The time is the median of single faces on one thread of the processor it runs on.
    """
    classifier = load_classifier(folder, threads=1)
    model = keras.saving.load_model(folder / FILES["keras"], compile=False, safe_mode=True)
    shape = classifier.card.shape
    crop = np.random.default_rng(0).integers(
        0, 256, (1, shape.size, shape.size, shape.channels), np.uint8
    )
    times = []
    for _ in range(TIMED_FACES):
        started = time.perf_counter()
        classifier.predict(crop)
        times.append(time.perf_counter() - started)
    return {
        "multiply_adds": count_multiply_adds(model),
        "parameters": model.count_params(),
        "bytes": (folder / FILES[choose_file("auto", classifier.card)]).stat().st_size,
        "milliseconds_per_face": round(float(np.median(times)) * 1000, 2),
    }


def count_multiply_adds(model: keras.Model) -> int:
    """Count the multiplications of convolutions and dense layers for one picture."""
    count = 0
    for layer in model.layers:
        if isinstance(layer, WITH_KERNELS):
            places = int(np.prod(layer.output.shape[1:-1]))
            kernels = (weight for weight in layer.weights if weight is not layer.bias)
            count += places * sum(int(np.prod(kernel.shape)) for kernel in kernels)
    return count


def list_weaknesses(card: Card, figures: dict[str, Any]) -> list[str]:
    """Say in sentences where the answering head is weak, each with its rate."""
    own = figures["heads"][card.default_head]
    shown = "faces" if card.region == "face" else "pictures"
    sentences = [
        f"Of {name} {shown} only {recall:.0%} are found."
        for name, recall in own["recall"].items()
        if recall is not None and recall < WEAK_RECALL
    ]
    for group in figures["groups"]:
        narrowed = [group[axis] for axis in ("age", "race", "gender") if group[axis] != "all"]
        behind = own["accuracy"] - group["accuracy"]
        if len(narrowed) == 1 and group["count"] >= FEWEST_IN_GROUP and behind > WEAK_BELOW_ALL:
            sentences.append(
                f"{group['accuracy']:.0%} of the answers are right for the group "
                f"“{narrowed[0]}” ({group['count']} faces), {own['accuracy']:.0%} for all."
            )
    photos = figures.get("photos", {}).get(card.default_head, {"genders": {}})
    sentences += [
        f"On whole photos {group['accuracy']:.0%} of the answers are right for the gender label "
        f"“{name}” ({group['count']} photos), {photos['accuracy']:.0%} for all."
        for name, group in photos["genders"].items()
        if group["count"] >= FEWEST_IN_GROUP
        and photos["accuracy"] - group["accuracy"] > WEAK_BELOW_ALL
    ]
    sentences += [
        f"Of pictures of {kind['kind']} only {kind['refused']:.0%} are answered by “none of these”."
        for kind in figures.get("ood", [])[1:]  # the first are of the classes
        if kind["refused"] < WEAK_REFUSED
    ]
    unchanged = figures["robustness"][0]["accuracy"]
    for row in figures["robustness"]:
        if unchanged - row["accuracy"] > WEAK_DROP:
            sentences.append(
                f"With {row['change']} at level {row['level']:g}, "
                f"{row['accuracy']:.0%} are right instead of {unchanged:.0%}."
            )
    return sentences


def _measure_outside(
    classifier: Classifier, recipe: Recipe, logits: dict[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Return for each kind of pictures how many are answered by "none of these".

    The validation part's own pictures come first: those are refused wrongly.
    """
    name = classifier.head_name
    kinds: dict[str, np.ndarray] = {recipe.task: logits[name]}
    sets = read_ood(recipe.data.ood, PART, classifier.card.size, recipe.seed)
    for kind, outside in sets.items():
        kinds[kind] = run_network(classifier.network, outside.pictures)[name]
    return [
        {"kind": kind, **measure_share(select_ood_threshold(classifier.head, answers), "refused")}
        for kind, answers in kinds.items()
    ]


def _find_new(recipe: Recipe, part: Split) -> np.ndarray:
    """Mark the pictures that no training has detected: bool (count,)."""
    if recipe.data.leakage == "drop":  # what stands in both parts was not trained on
        return np.ones(len(part.labels), dtype=bool)
    shape = CropShape(part.pictures.shape[1], part.pictures.shape[-1])
    return ~find_shared(part, read_split(recipe.data.folder, "train", shape))


def _measure_groups(
    classifier: Classifier, logits: dict[str, np.ndarray], part: Split
) -> list[dict[str, Any]]:
    """Break the answering head's accuracy down by the groups that the files' names tell."""
    head = classifier.head
    probabilities = read_answers(head, logits[classifier.head_name])
    right = probabilities.argmax(axis=1) == right_answers(head, part)
    limits = select_thresholds(classifier.card, head, logits)
    return measure_subgroups(part, right, probabilities.max(axis=1) >= limits)


def _measure_share(classifier: Classifier, crops: np.ndarray, part: Split) -> dict[str, Any]:
    """Return the answering head's accuracy on crops of a part's pictures."""
    logits = run_network(classifier.network, crops)[classifier.head_name]
    probabilities = read_answers(classifier.head, logits)
    labels = right_answers(classifier.head, part)
    counted = labels >= 0
    return measure_share(probabilities.argmax(axis=1)[counted] == labels[counted])
