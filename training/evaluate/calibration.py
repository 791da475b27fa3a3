"""Calibrate a model's heads on its validation split: temperatures and thresholds."""

import numpy as np
from scipy.optimize import minimize_scalar

from app.vision.models.cards import ONE_CLASS, ConditionalThreshold, Head
from app.vision.models.classifiers import Network, read_answers, read_probabilities
from training.datasets.loading import CHILDREN, Split
from training.datasets.ood import fit_ood_threshold, read_ood
from training.evaluate import Heads, Logits
from training.evaluate.joining import fit_join, gather_evidence
from training.evaluate.network import run_network, true_labels
from training.recipe import JOINED, Recipe


def calibrate_heads(
    recipe: Recipe, heads: Heads, network: Network, logits: Logits, split: Split
) -> Heads:
    """Return the heads with their temperatures and thresholds.

    `logits` are the network's for the split's pictures, (count, classes) for each head. A threshold
    is the lowest at which the precision reaches the recipe's `target_precision`. A conditional
    threshold is selected among the pictures that another head predicts as children's. A head that
    may predict "none of these" gets its OOD threshold too, and a head that joins others is fitted
    as in `fit_join`.
    """
    calibrated = dict(heads)
    # The others have no temperature and no threshold.
    classifying = {n: each for n, each in recipe.heads.items() if each.targets in ONE_CLASS}
    for name in classifying:
        labels = true_labels(heads[name], split)
        known = labels >= 0
        calibrated[name] = calibrate(heads[name], logits[name][known], labels[known])
    calibrated |= _fit_ood(recipe, calibrated, network, logits)
    for name, settings in classifying.items():
        met = np.zeros(len(split.files), dtype=bool)  # the condition of the second threshold
        if condition := settings.guarded_by:
            names, probabilities = read_probabilities(calibrated[condition], logits[condition])
            met = probabilities.argmax(axis=1) == names.index(CHILDREN[0])
        head, labels = calibrated[name], true_labels(calibrated[name], split)
        thresholds = []
        for chosen in (~met, met):
            known = chosen & (labels >= 0)
            probabilities = read_answers(head, logits[name][known])
            right = probabilities.argmax(axis=1) == labels[known]
            best = probabilities.max(axis=1)
            thresholds.append(select_threshold(best, right, recipe.target_precision))
        change: dict[str, object] = {"threshold": thresholds[0]}
        if condition:
            least = max(thresholds)
            second = ConditionalThreshold(head=condition, found=CHILDREN[0], threshold=least)
            change["conditional_threshold"] = second
        calibrated[name] = head.model_copy(update=change)
    if recipe.join:
        evidences = gather_evidence(recipe, heads[JOINED], network, logits, split)
        calibrated[JOINED] = fit_join(recipe, calibrated, evidences)
    return calibrated


def _fit_ood(recipe: Recipe, heads: Heads, network: Network, logits: Logits) -> Heads:
    rates = {name: head.ood_fpr for name, head in recipe.heads.items() if head.ood_fpr}
    if not rates:
        return {}
    known = {name: settings for name, settings in recipe.data.ood.items() if settings.train_on}
    sets = read_ood(known, "validation", recipe.data.size, recipe.seed)
    ood = run_network(network, np.concatenate([split.pictures for split in sets.values()]))
    fitted = {}
    for name, rate in rates.items():
        threshold = fit_ood_threshold(heads[name], logits[name], ood[name], rate)
        fitted[name] = heads[name].model_copy(update={"ood": threshold})
    return fitted


def calibrate(head: Head, logits: np.ndarray, labels: np.ndarray) -> Head:
    """Return the head with the temperature that minimises the negative log-likelihood.

    `logits` is (count, classes), `labels` int (count,) indices into the answerable classes.
    Source: Guo et al. 2017, section 4.2.
    """

    def loss(log_temperature: float) -> float:
        tried = head.model_copy(update={"temperature": float(np.exp(log_temperature))})
        _, probabilities = read_probabilities(tried, logits)
        chosen = probabilities[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded").x
    return head.model_copy(update={"temperature": round(float(np.exp(best)), 4)})


def select_threshold(best: np.ndarray, right: np.ndarray, minimum: float) -> float:
    """Return the lowest threshold with a precision of `minimum`; 1 if there is none."""
    order = np.argsort(-best)
    share_right = np.cumsum(right[order]) / np.arange(1, len(right) + 1)
    enough = np.flatnonzero(share_right >= minimum)
    return round(float(best[order][enough[-1]]), 4) if len(enough) else 1.0
