"""Fit a plain network on FER2013 for some numbers of epochs and sizes of batches."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from training.datasets.experiment import read_splits
from training.datasets.loading import Split
from training.recipe import Recipe, change_recipe
from training.studies.study import (
    Findings,
    Session,
    Study,
    Trial,
    answer_part,
    confuse,
    describe_end,
    iterate_grid,
    map_chains,
    name_trial,
    report_trial,
    train,
)


def run(study: Study, recipe: Recipe, session: Session) -> Findings:
    """Fit each combination of epochs and batch; measure it whole and on a few pictures."""
    parts = read_splits(recipe)
    photos = draw_photos(parts[1], study.options["photos_per_class"], recipe.seed)
    measure = partial(_measure, recipe, session, parts, photos)
    findings = Findings()
    for trial in map_chains(session, measure, list(iterate_grid(study.grid))):
        findings.rows.append(trial.row)
        findings.sections.append(report_trial(session, trial))
    best = max(findings.rows, key=lambda row: row["validation_accuracy"])
    findings.figures = {
        "training_accuracy": best["training_accuracy"],
        "validation_accuracy": best["validation_accuracy"],
        "photos_right": best["photos_right"] / best["photos"],
    }
    return findings


def _measure(
    recipe: Recipe,
    session: Session,
    parts: tuple[Split, Split],
    photos: np.ndarray,
    values: dict[str, Any],
    shorter: Path | None,
) -> Trial:
    """Fit one combination, on from the shorter training."""
    name = name_trial(values)
    changed = change_recipe(recipe, {f"schedule.{key}": value for key, value in values.items()})
    history = train(changed, session.work / name, parts, shorter)
    logits = answer_part(session.work / name, parts[1])
    right = int((logits.argmax(axis=1) == parts[1].labels)[photos].sum())
    row = {**values, **describe_end(history), "photos_right": right, "photos": len(photos)}
    return Trial(name, row, history, confuse(logits, parts[1]), parts[1].classes)


def draw_photos(part: Split, per_class: int, seed: int) -> np.ndarray:
    """Draw as many pictures of each class: int64 indices into the part."""
    generator = np.random.default_rng(seed)
    return np.concatenate(
        [
            generator.choice(np.flatnonzero(part.labels == label), per_class, replace=False)
            for label in range(len(part.classes))
        ]
    )
