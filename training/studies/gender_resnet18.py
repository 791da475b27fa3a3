"""Fit ResNet18 to perceived gender on few and many photos, from several starts."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from training.datasets.experiment import read_splits
from training.datasets.loading import Split
from training.evaluate.metrics import find_recalls
from training.recipe import Recipe, change_recipe
from training.runs import MODEL
from training.studies.study import (
    Findings,
    Session,
    Study,
    Trial,
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
    """Fit each start on each number of photos; measure the best epoch by validation loss."""
    findings = Findings()
    points = []
    for values in iterate_grid(study.grid):
        start = _change(study, recipe, values).network.init_from
        if start and not (start / MODEL).is_file():
            findings.missing.append(
                f"{name_trial(values)}: {start} holds no finished training to begin with. Make it "
                f"by `python -m training rebuild {start.name}`."
            )
        else:
            points.append(values)
    for trial, photo in session.engine.map(partial(_measure, study, recipe, session), points):
        findings.rows.append(trial.row)
        findings.sections += [report_trial(session, trial), photo]
    findings.figures = _pick_figures(study, findings)
    return findings


def _change(study: Study, recipe: Recipe, values: dict[str, Any]) -> Recipe:
    """Return the recipe of one point of the grid."""
    changes = [study.options[key][value] for key, value in values.items()]
    return change_recipe(recipe, {k: v for change in changes for k, v in change.items()})


def _measure(
    study: Study, recipe: Recipe, session: Session, values: dict[str, Any]
) -> tuple[Trial, str]:
    """Fit one point of the grid; tell what its network says to one photo too."""
    name, changed = name_trial(values), _change(study, recipe, values)
    parts = read_splits(changed)
    history = train(changed, session.work / name, parts)
    logits = answer_part(session.work / name, parts[1])
    confusion, classes = confuse(logits, parts[1]), parts[1].classes
    row = {**values, **describe_end(history), "accuracy": find_accuracy(confusion)}
    recalls = zip(classes, find_recalls(confusion), strict=True)
    row |= {f"recall_{label}": recall for label, recall in recalls}
    trial = Trial(name, row, history, confusion, classes)
    return trial, _describe_photo(logits, parts[1], recipe.seed)


def _describe_photo(logits: np.ndarray, part: Split, seed: int) -> str:
    """Say what is answered to one photo, drawn with a fixed seed."""
    index = int(np.random.default_rng(seed).integers(len(part.labels)))
    exponentials = np.exp(logits[index] - logits[index].max())
    answer = int(logits[index].argmax())
    return (
        f"One photo, `{Path(part.files[index]).name}`: labelled {part.classes[part.labels[index]]},"
        f" answered {part.classes[answer]} with a probability of "
        f"{exponentials[answer] / exponentials.sum():.3f}."
    )


def _pick_figures(study: Study, findings: Findings) -> dict[str, float]:
    """Return the accuracy on few and on all photos by start, and the paper's own case's recalls."""
    fewest = study.grid["photos"][0]
    figures: dict[str, float] = {}
    for row in findings.rows:
        count = "few" if row["photos"] == fewest else "all"
        figures[f"accuracy_{count}_{row['start']}"] = row["accuracy"]
        if (count, row["start"]) == ("few", "random"):
            figures |= {key: value for key, value in row.items() if key.startswith("recall")}
    return figures
