"""Fit more and more of a pretrained network's last layers, and cross-validate the best."""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.markdown import markdown_table
from app.vision.imaging.crops import CropShape
from training.datasets.loading import Split, read_split
from training.datasets.splitting import split_in_folds, train_validation_test_split
from training.fit.pretrained import compute_features, head_options
from training.recipe import DataError, Recipe, change_recipe
from training.runs import History
from training.studies.reporting import add_trial
from training.studies.session import LABELS_HEAD, Findings, Point, Session, Trial, iterate_grid

Folds = list[tuple[np.ndarray, np.ndarray]]  # masks of the training and the held-out pictures


def run(session: Session) -> Findings:
    """Fit each depth of each network; cross-validate the best of each network."""
    data = session.recipe.data
    pictures = read_split(data.folder, "", CropShape(data.size, data.channels))
    trials = _compare_depths(session, pictures)
    best = {
        base: max(
            (trial.row for trial in trials if trial.row["base"] == base),
            key=lambda row: row["validation_accuracy"],
        )
        for base in session.bases
    }
    accuracies = _cross_validate(session, pictures, list(best.values()))
    findings = Findings()
    for base, row in best.items():
        for trial in trials:
            if trial.row["base"] == base:
                add_trial(findings, trial)
                findings.counts[f"{base}_test_accuracy"] = len(trial.labels)
        findings.sections.append(_describe_folds(base, row, accuracies[base]))
        findings.figures |= {
            f"{base}_test_accuracy": row["test_accuracy"],
            f"{base}_cross_validated": float(np.mean(accuracies[base])),
            f"{base}_cross_validated_deviation": float(np.std(accuracies[base], ddof=1)),
        }
    return findings


def judge(history: History, options: dict[str, Any]) -> str:
    """Call learning curves "underfit", "good" or "overfit" by the rule of the study's TOML."""
    last = history[-options["verdict_epochs"] :]
    training = float(np.mean([row[f"accuracy_{LABELS_HEAD}"] for row in last]))
    validation = float(np.mean([row[f"validation_accuracy_{LABELS_HEAD}"] for row in last]))
    if training < options["underfit_below"]:
        return "underfit"
    return "overfit" if training - validation > options["overfit_gap"] else "good"


def _compare_depths(session: Session, pictures: Split) -> list[Trial]:
    splits = train_validation_test_split(pictures, session.recipe.seed)
    options = session.study.options
    points = [
        {"base": base, "depth": depth, **point}
        for base in session.bases
        for depth in options["depths"][base]
        for point in iterate_grid(session.study.grid)
        if point["epochs"] not in options["frozen_only"] or not _count_fitted(session, base, depth)
    ]
    return session.map_by_epochs(partial(_measure, session, splits), points)


def _measure(
    session: Session, splits: tuple[Split, Split, Split], point: Point, shorter: Path | None
) -> Trial:
    training, validation, test = (_compute_features(session, split, point) for split in splits)
    trial = session.fit(point, _change(session, point), (training, validation), test, shorter)
    verdict = judge(trial.history, session.study.options)
    trial.row |= {"test_accuracy": trial.accuracy, "verdict": verdict}
    return trial


def _cross_validate(session: Session, pictures: Split, best: list[Point]) -> dict[str, list[float]]:
    points = [{key: row[key] for key in ("base", "depth", *session.study.grid)} for row in best]
    folds = list(split_in_folds(pictures, session.study.options["folds"], session.recipe.seed))
    jobs = list(itertools.product(points, range(len(folds))))
    found = session.executor.map(partial(_measure_fold, session, pictures, folds), jobs)
    return {
        point["base"]: found[index * len(folds) : (index + 1) * len(folds)]
        for index, point in enumerate(points)
    }


def _measure_fold(session: Session, pictures: Split, folds: Folds, job: tuple[Point, int]) -> float:
    point, number = job
    features = _compute_features(session, pictures, point)
    learned, held_out = (features.subset(mask) for mask in folds[number])
    named = {**point, "fold": number}
    return session.fit(named, _change(session, point), (learned, held_out)).accuracy


def _compute_features(session: Session, split: Split, point: Point) -> Split:
    fitted = _count_fitted(session, point["base"], point["depth"])
    precision = session.recipe.schedule.precision
    return compute_features(split, point["base"], fitted, False, session.work, precision)


def _change(session: Session, point: Point) -> Recipe:
    base, fitted = point["base"], _count_fitted(session, point["base"], point["depth"])
    head = {"pooling": "average", "dense": session.study.options["dense"][base], "dropout": 0.5}
    options = head_options(base, session.recipe.data.size, fitted, False, **head)
    changes = {f"schedule.{key}": point[key] for key in ("epochs", "optimizer")}
    rates = session.study.options["learning_rates"]
    changes["schedule.learning_rate"] = rates[point["optimizer"]]
    return change_recipe(session.recipe, {"network.options": options, **changes})


def _count_fitted(session: Session, base: str, depth: int) -> int:
    """Return how many of the body's layers are trainable at a depth, counted from the output."""
    # The head always is: the pooling, a dense layer and a dropout for each width, and the logits.
    top = 2 + 2 * len(session.study.options["dense"][base])
    if depth < top - 1:  # The pooling has no weights.
        raise DataError(f"{base} has {top} layers on top; a depth of {depth} would freeze some.")
    return max(0, depth - top)


def _describe_folds(base: str, best: Point, accuracies: list[float]) -> str:
    rows = [[number, f"{share:.2%}"] for number, share in enumerate(accuracies, start=1)]
    return (
        f"## {base}, {len(accuracies)} folds\n\n"
        f"{best['depth']} trainable layers, {best['optimizer']}, {best['epochs']} epochs: "
        f"{np.mean(accuracies):.2%} ± {np.std(accuracies, ddof=1):.2%} (mean and deviation).\n\n"
        f"{markdown_table(rows, ['fold', 'accuracy'])}"
    )
