"""Compare a small classifier on VGG16's features with a network from scratch, also by time."""

from functools import partial

from training.datasets.experiment import read_splits
from training.datasets.loading import Split
from training.fit.pretrained import compute_both, describe_top, read_seconds
from training.recipe import Recipe, change_recipe
from training.studies.study import (
    Findings,
    Session,
    Study,
    Trial,
    answer_part,
    confuse,
    describe_end,
    find_accuracy,
    report_trial,
    train,
)


def run(study: Study, recipe: Recipe, session: Session) -> Findings:
    """Fit both ways on the same photos; features count to the time of the first."""
    findings = Findings()
    ways = [way for way in study.grid["way"] if session.bases or way != "transfer"]
    measure = partial(_measure, study, recipe, session, read_splits(recipe))
    for trial in session.engine.map(measure, ways):
        row, way = trial.row, trial.name
        findings.rows.append(row)
        findings.sections.append(report_trial(session, trial))
        findings.figures |= {
            f"{way}_accuracy": row["accuracy"],
            f"{way}_validation_loss": row["validation_loss"],
            f"{way}_seconds": row["seconds"] + row["feature_seconds"],
        }
    return findings


def _measure(
    study: Study, recipe: Recipe, session: Session, pictures: tuple[Split, Split], way: str
) -> Trial:
    """Fit one way."""
    parts, changed, before = pictures, recipe, 0.0
    if way == "transfer":
        base = session.bases[0]
        parts = compute_both(pictures, base, 0, False, session.features, recipe.schedule.precision)
        before = sum(read_seconds(part) for part in parts)
        options = describe_top(base, recipe.data.size, 0, False, **_head(study))
        changed = change_recipe(
            recipe, {"network.name": "backbone_head", "network.options": options}
        )
    history = train(changed, session.work / way, parts)
    confusion = confuse(answer_part(session.work / way, parts[1]), parts[1])
    row = {"way": way, **describe_end(history), "accuracy": find_accuracy(confusion)}
    row["seconds_per_epoch"] = round(row["seconds"] / row["epochs_run"], 3)
    row["seconds_per_step"] = round(row["seconds"] / history[-1]["step"], 4)
    row["feature_seconds"] = round(before, 1)
    return Trial(way, row, history, confusion, parts[1].classes)


def _head(study: Study) -> dict[str, object]:
    """Return the options of what stands on the features."""
    return {key: study.options[key] for key in ("pooling", "dense")}
