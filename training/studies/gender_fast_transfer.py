"""Compare a small classifier on VGG16's features with a network from scratch, also by time."""

from dataclasses import replace
from functools import partial

import numpy as np
import tensorflow as tf

from training.datasets.augmentation import augment
from training.datasets.experiment import read_splits
from training.datasets.loading import Split
from training.fit.pretrained import BATCH, compute_features, head_options, read_seconds
from training.recipe import Recipe, change_recipe
from training.studies.reporting import add_trial
from training.studies.session import Findings, Point, Session, Trial, iterate_grid


def run(session: Session) -> Findings:
    """Fit both ways with each seed; figures are means, and times include the features'."""
    findings, ways = Findings(), session.study.grid["way"]
    if not session.bases:
        ways = [way for way in ways if way != "transfer"]
    points = list(iterate_grid({**session.study.grid, "way": ways}))
    for trial in session.executor.map(partial(_measure, session), points):
        add_trial(findings, trial)
    for way in ways:
        rows = [row for row in findings.rows if row["way"] == way]
        for name in ("accuracy", "training_accuracy", "validation_loss", "whole_seconds"):
            findings.figures[f"{way}_{name}"] = float(np.mean([row[name] for row in rows]))
        findings.counts[f"{way}_accuracy"] = sum(row["photos"] for row in rows)
    return findings


def _measure(session: Session, point: Point) -> Trial:
    recipe = change_recipe(session.recipe, {"seed": point["seed"]})  # also samples the photos
    splits, feature_seconds = read_splits(recipe), 0.0
    if point["way"] == "transfer":
        base, precision = session.bases[0], recipe.schedule.precision
        options = session.study.options
        compute = partial(compute_features, precision=precision, mode=options["preprocessing"])
        changed = (_augment_once(recipe, splits[0]), splits[1])
        train, validation = (compute(each, base, 0, False, session.work) for each in changed)
        splits = train, validation
        feature_seconds = sum(map(read_seconds, splits))
        head = {key: options[key] for key in ("pooling", "dense")}
        network = head_options(base, recipe.data.size, 0, False, **head)
        changes = {"network.name": "backbone_head", "network.options": network}
        recipe = change_recipe(recipe, changes)
    trial = session.fit(point, recipe, splits)
    seconds = trial.row["seconds"]
    trial.row |= {
        "accuracy": trial.accuracy,
        "photos": len(trial.labels),
        "seconds_per_step": round(seconds / trial.history[-1]["step"], 4),
        "feature_seconds": round(feature_seconds, 1),
        "whole_seconds": round(seconds + feature_seconds, 1),
    }
    return trial


def _augment_once(recipe: Recipe, split: Split) -> Split:
    """Return a split whose pictures are changed at random once, before the features."""
    changed = [
        augment(
            recipe.augmentation,
            tf.constant(split.pictures[start : start + BATCH]),
            recipe.data.size,
            tf.constant([recipe.seed, start]),
        )
        for start in range(0, len(split.pictures), BATCH)
    ]
    return replace(split, pictures=np.concatenate(changed))
