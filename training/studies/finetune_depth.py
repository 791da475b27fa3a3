"""Fit more and more of a pretrained network's last layers, and cross-validate the best."""

import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.markdown import markdown_table
from app.vision.imaging.crops import CropShape
<<<<<<< HEAD
from training.datasets.loading import Split, read_split
from training.datasets.splitting import split_in_folds, train_validation_test_split
from training.evaluate.reports import write_table
=======
from training.datasets.loading import DataError, Split, read_part
from training.datasets.splitting import split_in_folds, split_in_parts
>>>>>>> 39ff60e (Render a model's README.md from a Markdown template; plot by plot_* functions; write tables by app.markdown)
from training.fit.pretrained import compute_features, describe_top
from training.recipe import DataError, Recipe, change_recipe
from training.studies.study import (
    LABELS_HEAD,
    Findings,
    Session,
    Study,
    Trial,
    answer_part,
    confuse,
    describe_end,
    find_accuracy,
    iterate_grid,
    map_chains,
    name_trial,
    report_trial,
    train,
)


def run(study: Study, recipe: Recipe, session: Session) -> Findings:
    """Fit each depth of each network; cross-validate the best of each network."""
    pictures = read_split(recipe.data.folder, "", CropShape(recipe.data.size, recipe.data.channels))
    trials = _compare_depths(study, recipe, session, pictures)
    best = {
        base: max(
            (trial.row for trial in trials if trial.row["base"] == base),
            key=lambda row: row["validation_accuracy"],
        )
        for base in session.bases
    }
    shares = _cross_validate(study, recipe, session, pictures, list(best.values()))
    findings = Findings(rows=[trial.row for trial in trials])
    for base, row in best.items():
        findings.sections += [
            report_trial(session, trial) for trial in trials if trial.row["base"] == base
        ]
        findings.sections.append(_describe_folds(base, row, shares[base]))
        findings.figures |= {
            f"{base}_test_accuracy": row["test_accuracy"],
            f"{base}_cross_validated": float(np.mean(shares[base])),
            f"{base}_deviation": float(np.std(shares[base], ddof=1)),
        }
    return findings


def judge(history: list[dict[str, Any]], options: dict[str, Any]) -> str:
    """Call learning curves "underfit", "good" or "overfit" by the rule of the study's TOML."""
    last = history[-options["verdict_epochs"] :]
    training = float(np.mean([row[f"accuracy_{LABELS_HEAD}"] for row in last]))
    validation = float(np.mean([row[f"validation_accuracy_{LABELS_HEAD}"] for row in last]))
    if training < options["underfit_below"]:
        return "underfit"
    return "overfit" if training - validation > options["overfit_gap"] else "good"


def _compare_depths(study: Study, recipe: Recipe, session: Session, pictures: Split) -> list[Trial]:
    """Fit each depth of each network with each optimiser and number of epochs."""
    parts = train_validation_test_split(pictures, recipe.seed)
    depths = [
        {"base": base, "depth": depth}
        for base in session.bases
        for depth in study.options["depths"][base]
    ]
    session.engine.map(partial(_keep_features, study, recipe, session, parts), depths)
    points = [{**depth, **values} for depth in depths for values in iterate_grid(study.grid)]
    return map_chains(session, partial(_measure, study, recipe, session, parts), points)


def _measure(
    study: Study,
    recipe: Recipe,
    session: Session,
    parts: tuple[Split, Split, Split],
    chosen: dict[str, Any],
    shorter: Path | None,
) -> Trial:
    """Fit one training, on from the shorter one, and measure it on the test part."""
    name = name_trial(chosen)
    training, validation, test = (
        _find_features(study, recipe, session, part, chosen) for part in parts
    )
    changed = _change(study, recipe, chosen)
    history = train(changed, session.work / name, (training, validation), shorter)
    confusion = confuse(answer_part(session.work / name, test), test)
    row = {**chosen, **describe_end(history), "test_accuracy": find_accuracy(confusion)}
    row["verdict"] = judge(history, study.options)
    return Trial(name, row, history, confusion, test.classes)


def _cross_validate(
    study: Study, recipe: Recipe, session: Session, pictures: Split, best: list[dict[str, Any]]
) -> dict[str, list[float]]:
    """Fit the best trainings anew for each fold; return each network's accuracies by fold."""
    chosen = [{key: row[key] for key in ("base", "depth", *study.grid)} for row in best]
    session.engine.map(partial(_keep_features, study, recipe, session, (pictures,)), chosen)
    folds = list(split_in_folds(pictures, study.options["folds"], recipe.seed))
    measure = partial(_measure_fold, study, recipe, session, pictures, folds)
    found = session.engine.map(measure, list(itertools.product(chosen, range(len(folds)))))
    return {
        each["base"]: found[index * len(folds) : (index + 1) * len(folds)]
        for index, each in enumerate(chosen)
    }


def _measure_fold(
    study: Study,
    recipe: Recipe,
    session: Session,
    pictures: Split,
    folds: list[tuple[np.ndarray, np.ndarray]],
    training: tuple[dict[str, Any], int],
) -> float:
    """Fit a training anew, given with the fold's number; return its accuracy on the fold."""
    chosen, number = training
    features = _find_features(study, recipe, session, pictures, chosen)
    learned, held_out = (features.subset(mask) for mask in folds[number])
    folder = session.work / f"{name_trial(chosen)}-fold={number}"
    train(_change(study, recipe, chosen), folder, (learned, held_out))
    return find_accuracy(confuse(answer_part(folder, held_out), held_out))


def _keep_features(
    study: Study,
    recipe: Recipe,
    session: Session,
    parts: tuple[Split, ...],
    chosen: dict[str, Any],
) -> None:
    """Compute the features of a depth once, before several trainings want them."""
    for part in parts:
        _find_features(study, recipe, session, part, chosen)


def _find_features(
    study: Study, recipe: Recipe, session: Session, part: Split, chosen: dict[str, Any]
) -> Split:
    """Return a part with the features that a network has frozen at a depth."""
    base = chosen["base"]
    fitted = _count_fitted(study, base, chosen["depth"])
    precision = recipe.schedule.precision
    return compute_features(part, base, fitted, False, session.features, precision)


def _change(study: Study, recipe: Recipe, chosen: dict[str, Any]) -> Recipe:
    """Return the recipe of one training."""
    base = chosen["base"]
    fitted = _count_fitted(study, base, chosen["depth"])
    options = describe_top(
        base,
        recipe.data.size,
        fitted,
        False,
        pooling="average",
        dense=study.options["dense"][base],
        dropout=0.5,
    )
    return change_recipe(
        recipe,
        {
            "network.options": options,
            "schedule.epochs": chosen["epochs"],
            "schedule.optimizer": chosen["optimizer"],
        },
    )


def _count_fitted(study: Study, base: str, depth: int) -> int:
    """Return how many of the body's layers learn, of `depth` layers of the whole network.

    On the body stand the pooling, a dense layer and a dropout for each width, and the logits.
    All of those always learn. Raises `DataError` for a depth that would freeze some of them.
    """
    top = 2 + 2 * len(study.options["dense"][base])
    if depth < top - 1:  # the pooling has nothing to learn
        raise DataError(f"{base} has {top} layers on top; a depth of {depth} would freeze some.")
    return max(0, depth - top)


def _describe_folds(base: str, best: dict[str, Any], shares: list[float]) -> str:
    """Tabulate the cross-validation."""
    rows = [[str(number), f"{share:.2%}"] for number, share in enumerate(shares, start=1)]
    return "\n\n".join(
        [
            f"## {base}, {len(shares)} folds",
            f"{best['depth']} trainable layers, {best['optimizer']}, {best['epochs']} epochs: "
            f"{np.mean(shares):.2%} ± {np.std(shares, ddof=1):.2%} (mean and deviation).",
            markdown_table(rows, ["fold", "accuracy"]),
        ]
    )
