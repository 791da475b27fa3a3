"""Fit ResNet18 to perceived gender on few and many photos, from several starts."""

from functools import partial
from pathlib import Path

import numpy as np

from app.vision.geometry import softmax
from training.datasets.experiment import read_splits
from training.recipe import Recipe, change_recipe
from training.runs import MODEL
from training.studies.reporting import add_trial
from training.studies.session import Findings, Point, Session, Trial, iterate_grid, name_point


def run(session: Session) -> Findings:
    """Fit each start on each number of photos; measure the best epoch by validation loss."""
    findings = Findings()
    points = []
    for point in iterate_grid(session.study.grid):
        if point["start"] == "imagenet" and not session.bases:
            continue  # The missing weights are reported already.
        start = _change(session, point).network.init_from
        if start and not (start / MODEL).is_file():
            findings.missing.append(
                f"{name_point(point)}: {start} holds no finished training to start from. Make it "
                f"by `python -m training rebuild {start.name}`."
            )
        else:
            points.append(point)
    fewest = session.study.grid["photos"][0]
    for trial, photo in session.executor.map(partial(_measure, session), points):
        add_trial(findings, trial)
        findings.sections.append(photo)
        count, start = "few" if trial.row["photos"] == fewest else "all", trial.row["start"]
        findings.figures[f"accuracy_{count}_{start}"] = trial.accuracy
        findings.counts[f"accuracy_{count}_{start}"] = len(trial.labels)
        if (count, start) == ("few", "imagenet"):  # the paper's own case
            findings.figures |= trial.recalls | {"best_epoch": trial.row["best_epoch"]}
            findings.counts |= trial.recall_counts
    return findings


def _change(session: Session, point: Point) -> Recipe:
    changes = [session.study.options[key][value] for key, value in point.items()]
    return change_recipe(session.recipe, {k: v for change in changes for k, v in change.items()})


def _measure(session: Session, point: Point) -> tuple[Trial, str]:
    recipe = _change(session, point)
    splits = read_splits(recipe)
    trial = session.fit(point, recipe, splits)
    losses = [epoch["validation_loss"] for epoch in trial.history]
    trial.row |= {"accuracy": trial.accuracy, "best_epoch": 1 + int(np.argmin(losses))}
    trial.row |= trial.recalls
    # One photo, sampled with a fixed seed.
    index = int(np.random.default_rng(session.recipe.seed).integers(len(trial.labels)))
    probabilities = softmax(trial.logits[index])
    photo = (
        f"One photo, `{Path(splits[1].files[index]).name}`: labelled "
        f"{trial.classes[trial.labels[index]]}, predicted {trial.classes[probabilities.argmax()]} "
        f"with a probability of {probabilities.max():.3f}."
    )
    return trial, photo
