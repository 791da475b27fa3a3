"""Calibrate a model's heads on its validation split: temperatures and thresholds."""

import numpy as np
from scipy.optimize import minimize_scalar

from app.vision.models.cards import ConditionalThreshold, Head
from app.vision.models.classifiers import Network, read_answers, read_probabilities
from training.datasets.loading import CHILDREN, Split
from training.datasets.ood import fit_ood_threshold, read_ood
from training.evaluate.network import run_network, true_labels
from training.recipe import Recipe


def calibrate_heads(
    recipe: Recipe,
    heads: dict[str, Head],
    network: Network,
    logits: dict[str, np.ndarray],
    part: Split,
) -> dict[str, Head]:
    """Return the heads with their temperatures, and with limits at which they are unsure.

    `logits` are the network's for the part's pictures, (count, classes) for each head. The limits
    are the lowest at which answers given are right as often as the recipe's `target_precision`
    asks; pictures that a guarding head takes for children's have a limit of their own, found among
    themselves. A head that may refuse pictures gets its limit for that too.
    """
    calibrated = dict(heads)
    # Places are values: they have no temperature and no limit.
    answering = {
        n: settings for n, settings in recipe.heads.items() if settings.targets != "places"
    }
    for name in answering:
        labels = true_labels(heads[name], part)
        counted = labels >= 0
        calibrated[name] = calibrate(heads[name], logits[name][counted], labels[counted])
    calibrated |= _limit_refusing(recipe, calibrated, network, logits)
    for name, settings in answering.items():
        guarded = np.zeros(len(part.files), dtype=bool)
        if settings.guarded_by:
            guarded = _find_guarded(calibrated[settings.guarded_by], logits[settings.guarded_by])
        limits = [
            _find_limit(calibrated[name], logits[name], part, chosen, recipe.target_precision)
            for chosen in (~guarded, guarded)
        ]
        change: dict[str, object] = {"threshold": limits[0]}
        if settings.guarded_by:
            child = CHILDREN[0]
            change["conditional_threshold"] = ConditionalThreshold(
                head=settings.guarded_by, found=child, threshold=max(limits)
            )
        calibrated[name] = calibrated[name].model_copy(update=change)
    return calibrated


def _limit_refusing(
    recipe: Recipe, heads: dict[str, Head], network: Network, inside: dict[str, np.ndarray]
) -> dict[str, Head]:
    """Return the heads that may answer "none of these", with what makes them do so."""
    asked = {name: head.ood_fpr for name, head in recipe.heads.items() if head.ood_fpr}
    if not asked:
        return {}
    known = {name: settings for name, settings in recipe.data.ood.items() if settings.train_on}
    sets = read_ood(known, "validation", recipe.data.size, recipe.seed)
    outside = run_network(network, np.concatenate([part.pictures for part in sets.values()]))
    limited = {}
    for name, refused in asked.items():
        found = fit_ood_threshold(heads[name], inside[name], outside[name], refused)
        limited[name] = heads[name].model_copy(update={"ood": found})
    return limited


def calibrate(head: Head, logits: np.ndarray, labels: np.ndarray) -> Head:
    """Return the head with the temperature at which the right answers are likeliest.

    `logits` is (count, classes), `labels` int (count,) indices into the answerable classes.
    Source: Guo et al. 2017, section 4.2.
    """

    def surprise(log_temperature: float) -> float:
        tried = head.model_copy(update={"temperature": float(np.exp(log_temperature))})
        _, probabilities = read_probabilities(tried, logits)
        chosen = probabilities[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(chosen, 1e-12)).mean())

    best = minimize_scalar(surprise, bounds=(-3, 3), method="bounded").x
    return head.model_copy(update={"temperature": round(float(np.exp(best)), 4)})


def select_threshold(best: np.ndarray, right: np.ndarray, minimum: float) -> float:
    """Return the lowest limit at which answers given are right often enough; 1 where none is."""
    order = np.argsort(-best)
    share_right = np.cumsum(right[order]) / np.arange(1, len(right) + 1)
    enough = np.flatnonzero(share_right >= minimum)
    return round(float(best[order][enough[-1]]), 4) if len(enough) else 1.0


def _find_guarded(guard: Head, logits: np.ndarray) -> np.ndarray:
    """Mark the pictures that a guarding head takes for children's: bool (count,)."""
    names, probabilities = read_probabilities(guard, logits)
    return np.asarray(probabilities.argmax(axis=1) == names.index(CHILDREN[0]))


def _find_limit(
    head: Head, logits: np.ndarray, part: Split, chosen: np.ndarray, minimum: float
) -> float:
    """Find the "unsure" limit among the chosen pictures, bool (count,), with a known answer."""
    labels = true_labels(head, part)
    counted = chosen & (labels >= 0)
    probabilities = read_answers(head, logits[counted])
    right = probabilities.argmax(axis=1) == labels[counted]
    return select_threshold(probabilities.max(axis=1), right, minimum)
