"""Measure all figures of a model folder's card from the data, for `export` and for `verify`."""

from pathlib import Path

import numpy as np

from app.vision.imaging.crops import CropShape
from app.vision.models.cards import NONE_OF_THESE, ONE_CLASS, Card, load_card
from app.vision.models.classifiers import (
    Classifier,
    Network,
    load_classifier,
    read_answers,
    select_thresholds,
)
from app.vision.models.files import FILES
from training.datasets.experiment import read_validation
from training.datasets.loading import Split, find_shared, read_split
from training.datasets.ood import read_ood
from training.evaluate import Figures, Logits
from training.evaluate.calibration import calibrate_heads
from training.evaluate.end_to_end import list_task_heads, measure_photos
from training.evaluate.joining import cross_validate, gather_evidence, measure_risks
from training.evaluate.metrics import measure_share
from training.evaluate.network import compare_quantized, measure_heads, run_network, true_labels
from training.evaluate.robustness import measure_robustness
from training.evaluate.speed import measure_speed
from training.evaluate.subgroups import measure_subgroups
from training.evaluate.visibility import fit_visibility, measure_hidden
from training.recipe import JOINED, Recipe, parse_recipe

SPLIT = "validation"
SPEED = "speed"
FEWEST_IN_GROUP = 30  # A smaller group's accuracy says little.
WEAK_RECALL = 0.6
WEAK_BELOW_ALL = 0.03  # A group this far below all is a weakness.
WEAK_DROP = 0.1
WEAK_REFUSED = 0.9
WEAK_UNANSWERED = 0.9
HIDDEN = ("masked", "profile", "sunglasses")  # kinds of faces that should stay unanswered


def measure_model(folder: Path) -> Figures:
    """Measure the model in a folder on the data that its card names.

    Returns the card's `figures`: the heads' own, groups, robustness, photos, speed and weaknesses.
    Raises `DataError` for missing data and `ModelError` for a bad model.
    """
    card = load_card(folder)
    recipe = parse_recipe(card.training["recipe"])
    classifier = load_classifier(folder, threads=0)
    large = read_split(recipe.data.folder, SPLIT, CropShape(recipe.data.stored_size, card.channels))
    split = read_split(recipe.data.folder, SPLIT, card.shape)
    logits = run_network(classifier, split.pictures)
    unseen = np.ones(len(split.labels), dtype=bool)
    if recipe.data.leakage != "drop":  # else pictures in both splits were not trained on
        unseen = ~find_shared(split, read_split(recipe.data.folder, "train", card.shape))
    figures: Figures = {
        "part": SPLIT,
        "heads": measure_heads(card, logits, split, unseen),
        "groups": [],
        "robustness": [],
    }
    if classifier.head.targets in ONE_CLASS:
        figures["groups"] = _measure_groups(classifier, logits, split)
        figures["robustness"] = measure_robustness(
            large.pictures, card.shape, lambda crops: _measure_accuracy(classifier, crops, split)
        )
    if FILES["int8"] in card.files:
        exact = run_network(load_classifier(folder, "onnx", threads=0), split.pictures)
        figures["quantization"] = compare_quantized(card.heads, exact, logits, split)
    if classifier.head.ood:
        figures["ood"] = _measure_ood(classifier, recipe, logits)
    if recipe.data.photos:
        figures["photos"] = _measure_photos(folder, card, recipe.data.photos)
    if recipe.join:
        figures["photos_by_class"] = _measure_photos(folder, card, recipe.join.photos)
        joined = card.heads[JOINED]
        evidences = gather_evidence(recipe, joined, classifier.network, logits, split)
        figures["risk_coverage"] = measure_risks(card.heads, joined, evidences)
        figures["cross_validation"] = cross_validate(recipe, card.heads, evidences)
        if recipe.join.hard_faces:
            figures["hidden"] = measure_hidden(classifier, recipe.join.hard_faces)
    figures[SPEED] = measure_speed(folder)
    figures["weaknesses"] = list_weaknesses(card, figures) if figures["robustness"] else []
    return figures


def calibrate_model(folder: Path) -> Card:
    """Calibrate the model in a folder again, on its validation split; return its card.

    Raises `DataError` for missing data and `ModelError` for a bad model.
    """
    card, network = load_card(folder), load_classifier(folder, threads=0).network
    recipe = parse_recipe(card.training["recipe"])
    split = read_validation(recipe)
    return calibrate_card(recipe, card, network, run_network(network, split.pictures), split)


def calibrate_card(
    recipe: Recipe, card: Card, network: Network, logits: Logits, split: Split
) -> Card:
    """Return a card with its heads calibrated, and its limits of what can't be seen.

    `network` and `logits` are as in `calibrate_heads`.
    """
    heads = calibrate_heads(recipe, card.heads, network, logits, split)
    card = card.model_copy(update={"heads": heads})
    if recipe.join is None:
        return card
    least = recipe.join.precision_by_class
    limits = fit_visibility(Classifier(card, network, "", Path()), split, least)
    return card.model_copy(update={"visibility": limits})


def list_weaknesses(card: Card, figures: Figures) -> list[Figures]:
    """List where the default head is weak, each a code of `weaknesses.MESSAGES` with parameters."""
    own = figures["heads"][card.default_head]
    low_recall = "low_recall_faces" if card.region == "face" else "low_recall_images"
    found: list[Figures] = [
        {"code": low_recall, "label": name, "recall": recall}
        for name, recall in own["recall"].items()
        if recall is not None and recall < WEAK_RECALL
    ]
    for group in figures["groups"]:
        narrowed = [group[axis] for axis in ("age", "race", "gender") if group[axis] != "all"]
        if len(narrowed) == 1 and _is_behind(group, own):
            found.append({"code": "weak_group", "group": narrowed[0], **_compare(group, own)})
    photos = figures.get("photos", {}).get(card.default_head, {"genders": {}})
    found += [
        {"code": "weak_gender_on_photos", "label": name, **_compare(group, photos)}
        for name, group in photos["genders"].items()
        if _is_behind(group, photos)
    ]
    found += [
        {"code": "out_of_distribution", "kind": kind["kind"], "refused": kind["refused"]}
        for kind in figures.get("ood", [])[1:]  # the first are of the classes
        if kind["refused"] < WEAK_REFUSED
    ]
    found += [
        {"code": "hidden_answered", **{name: row[name] for name in ("kind", "unanswered")}}
        for row in figures.get("hidden", [])
        if row["kind"] in HIDDEN and row["unanswered"] < WEAK_UNANSWERED
    ]
    overall = figures["robustness"][0]["accuracy"]
    found += [
        {"code": "not_robust", "overall": overall}
        | {name: row[name] for name in ("change", "level", "accuracy")}
        for row in figures["robustness"]
        if overall - row["accuracy"] > WEAK_DROP
    ]
    return found


def _measure_photos(folder: Path, card: Card, photos: Path) -> Figures:
    by_head = {head: load_classifier(folder, head=head) for head in list_task_heads(card)}
    return {head: measure_photos(classifier, photos) for head, classifier in by_head.items()}


def _is_behind(group: Figures, overall: Figures) -> bool:
    behind: bool = overall["accuracy"] - group["accuracy"] > WEAK_BELOW_ALL
    return behind and group["count"] >= FEWEST_IN_GROUP


def _compare(group: Figures, overall: Figures) -> Figures:
    shown = {name: group[name] for name in ("count", "accuracy")}
    return {**shown, "overall": overall["accuracy"]}


def _measure_ood(classifier: Classifier, recipe: Recipe, logits: Logits) -> list[Figures]:
    name, head = classifier.head_name, classifier.head
    # The pictures of the classes come first: they are refused wrongly.
    kinds: Logits = {recipe.task: logits[name]}
    for kind, ood in read_ood(recipe.data.ood, SPLIT, classifier.card.size, recipe.seed).items():
        kinds[kind] = run_network(classifier, ood.pictures)[name]
    none = head.labels.index(NONE_OF_THESE)
    refused = {kind: read_answers(head, own).argmax(axis=1) == none for kind, own in kinds.items()}
    return [{"kind": kind, **measure_share(each, "refused")} for kind, each in refused.items()]


def _measure_groups(classifier: Classifier, logits: Logits, split: Split) -> list[Figures]:
    head = classifier.head
    probabilities = read_answers(head, logits[classifier.head_name])
    right = probabilities.argmax(axis=1) == true_labels(head, split)
    thresholds = select_thresholds(classifier.card, head, logits, probabilities)
    return measure_subgroups(split, right, probabilities.max(axis=1) >= thresholds)


def _measure_accuracy(classifier: Classifier, crops: np.ndarray, split: Split) -> Figures:
    logits = run_network(classifier, crops)[classifier.head_name]
    probabilities = read_answers(classifier.head, logits)
    labels = true_labels(classifier.head, split)
    known = labels >= 0
    return measure_share(probabilities.argmax(axis=1)[known] == labels[known])
