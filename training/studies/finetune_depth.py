"""Fit more and more of a pretrained network's last layers, and cross-validate the best."""

from pathlib import Path
from typing import Any

import numpy as np

from app.vision.crops import CropShape
from training.data import DataError, Part, read_part
from training.pretrained import compute_both, compute_features, describe_top
from training.recipes import Recipe, change_recipe
from training.reports import write_table
from training.splitting import split_in_folds, split_in_parts
from training.study import (
    LABELS_HEAD,
    Findings,
    Session,
    Study,
    answer_part,
    confuse,
    describe_end,
    find_accuracy,
    iterate_grid,
    name_trial,
    report_trial,
    train,
)


def run(study: Study, recipe: Recipe, session: Session) -> Findings:
    """Fit each depth of each network; cross-validate the best of each network."""
    data = recipe.data
    pictures = read_part(data.folder, "", CropShape(data.size, data.channels))
    findings = Findings()
    for base in session.bases:
        rows = _compare_depths(study, recipe, session, base, pictures, findings)
        best = max(rows, key=lambda row: row["validation_accuracy"])
        shares = _cross_validate(study, recipe, session, best, pictures)
        findings.rows += rows
        findings.sections.append(_describe_folds(base, best, shares))
        findings.figures |= {
            f"{base}_test_accuracy": best["test_accuracy"],
            f"{base}_cross_validated": float(np.mean(shares)),
            f"{base}_deviation": float(np.std(shares, ddof=1)),
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


def _compare_depths(
    study: Study,
    recipe: Recipe,
    session: Session,
    base: str,
    pictures: Part,
    findings: Findings,
) -> list[dict[str, Any]]:
    """Fit each depth with each optimiser and number of epochs; return the rows."""
    training, validation, test = split_in_parts(pictures, recipe.seed)
    rows = []
    for depth in study.options["depths"][base]:
        fitted = _count_fitted(study, base, depth)
        parts = compute_both(
            (training, validation), base, fitted, False, session.features, recipe.schedule.precision
        )
        held_out = compute_features(
            test, base, fitted, False, session.features, recipe.schedule.precision
        )
        finished: dict[str, Path] = {}  # optimiser → the longest training so far
        for values in iterate_grid(study.grid):
            chosen = {"base": base, "depth": depth, **values}
            folder, optimizer = session.work / name_trial(chosen), values["optimizer"]
            changed = _change(study, recipe, chosen)
            history = train(changed, folder, parts, finished.get(optimizer))
            finished[optimizer] = folder
            confusion = confuse(answer_part(folder, held_out), held_out)
            row = {**chosen, **describe_end(history), "test_accuracy": find_accuracy(confusion)}
            rows.append({**row, "verdict": judge(history, study.options)})
            name = name_trial(chosen)
            findings.sections.append(report_trial(session, name, history, confusion, held_out))
    return rows


def _cross_validate(
    study: Study, recipe: Recipe, session: Session, best: dict[str, Any], pictures: Part
) -> list[float]:
    """Fit the best training anew for each fold; return the accuracies on what is held out."""
    chosen = {key: best[key] for key in ("base", "depth", *study.grid)}
    fitted = _count_fitted(study, best["base"], best["depth"])
    features = compute_features(
        pictures, best["base"], fitted, False, session.features, recipe.schedule.precision
    )
    shares = []
    folds = split_in_folds(pictures, study.options["folds"], recipe.seed)
    for number, (learned, held_out) in enumerate(folds):
        parts = features.subset(learned), features.subset(held_out)
        folder = session.work / f"{name_trial(chosen)}-fold={number}"
        train(_change(study, recipe, chosen), folder, parts)
        shares.append(find_accuracy(confuse(answer_part(folder, parts[1]), parts[1])))
    return shares


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
            write_table(["fold", "accuracy"], rows),
        ]
    )
