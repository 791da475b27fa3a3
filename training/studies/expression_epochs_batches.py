"""Fit a plain network on FER2013 for some numbers of epochs and batch sizes."""

from functools import partial
from pathlib import Path

import numpy as np

from training.datasets.experiment import Splits, read_splits
from training.datasets.loading import Split
from training.recipe import change_recipe
from training.studies.reporting import add_trial
from training.studies.session import Findings, Point, Session, Trial, iterate_grid


def run(session: Session) -> Findings:
    """Fit each network for some epochs and batches; measure it on all and on a few pictures."""
    splits = read_splits(session.recipe)
    per_class = session.study.options["photos_per_class"]
    photos = sample_photos(splits[1], per_class, session.recipe.seed)
    measure = partial(_measure, session, splits, photos)
    findings = Findings()
    trials = session.map_by_epochs(measure, list(iterate_grid(session.study.grid)))
    for trial in trials:
        add_trial(findings, trial)
    for network in session.study.grid["network"]:
        rows = [row for row in findings.rows if row["network"] == network]
        best = max(rows, key=lambda row: row["validation_accuracy"])
        best["photos_right_share"] = best["photos_right"] / best["photos"]
        for name, value in best.items():
            if name.startswith(("training_acc", "validation_acc", "photos_right_", "recall_")):
                findings.figures[f"{network}_{name}"] = value
        findings.counts |= {
            f"{network}_validation_accuracy": len(splits[1].labels),
            f"{network}_photos_right_share": best["photos"],
            **{f"{network}_{name}": count for name, count in trials[0].recall_counts.items()},
        }
    return findings


def _measure(
    session: Session, splits: Splits, photos: np.ndarray, point: Point, shorter: Path | None
) -> Trial:
    changes = {f"schedule.{key}": point[key] for key in ("epochs", "batch")}
    changes |= session.study.options["networks"][point["network"]]
    trial = session.fit(point, change_recipe(session.recipe, changes), splits, shorter=shorter)
    right = (trial.logits.argmax(axis=1) == trial.labels)[photos]
    trial.row |= {"photos_right": int(right.sum()), "photos": len(photos), **trial.recalls}
    trial.row["recall_mean"] = round(float(np.mean(list(trial.recalls.values()))), 4)
    return trial


def sample_photos(split: Split, per_class: int, seed: int) -> np.ndarray:
    """Sample `per_class` pictures of each class: int64 indices into the split."""
    generator = np.random.default_rng(seed)
    by_class = (np.flatnonzero(split.labels == label) for label in range(len(split.classes)))
    return np.concatenate([generator.choice(own, per_class, replace=False) for own in by_class])
