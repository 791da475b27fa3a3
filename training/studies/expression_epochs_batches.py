"""Fit a plain network on FER2013 for some numbers of epochs and sizes of batches."""

from pathlib import Path
from typing import Any

import numpy as np

from training.data import Part
from training.fitting import read_parts
from training.recipes import Recipe, change_recipe
from training.study import (
    Findings,
    Session,
    Study,
    answer_part,
    confuse,
    describe_end,
    iterate_grid,
    name_trial,
    report_trial,
    train,
)


def run(study: Study, recipe: Recipe, session: Session) -> Findings:
    """Fit each combination of epochs and batch; measure it whole and on a few pictures."""
    parts = read_parts(recipe)
    chosen = draw_photos(parts[1], study.options["photos_per_class"], recipe.seed)
    findings = Findings()
    finished: dict[int, Path] = {}  # batch → the longest training so far
    for values in iterate_grid(study.grid):
        trial, batch = name_trial(values), values["batch"]
        changed = change_recipe(recipe, {f"schedule.{key}": value for key, value in values.items()})
        folder = session.work / trial
        history = train(changed, folder, parts, finished.get(batch))
        finished[batch] = folder
        logits = answer_part(folder, parts[1])
        right = int((logits.argmax(axis=1) == parts[1].labels)[chosen].sum())
        row: dict[str, Any] = {**values, **describe_end(history)}
        findings.rows.append({**row, "photos_right": right, "photos": len(chosen)})
        confusion = confuse(logits, parts[1])
        findings.sections.append(report_trial(session, trial, history, confusion, parts[1]))
    best = max(findings.rows, key=lambda row: row["validation_accuracy"])
    findings.figures = {
        "training_accuracy": best["training_accuracy"],
        "validation_accuracy": best["validation_accuracy"],
        "photos_right": best["photos_right"] / best["photos"],
    }
    return findings


def draw_photos(part: Part, per_class: int, seed: int) -> np.ndarray:
    """Draw as many pictures of each class: int64 indices into the part."""
    generator = np.random.default_rng(seed)
    return np.concatenate(
        [
            generator.choice(np.flatnonzero(part.labels == label), per_class, replace=False)
            for label in range(len(part.classes))
        ]
    )
