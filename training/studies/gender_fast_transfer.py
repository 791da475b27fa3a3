"""Compare a small classifier on VGG16's features with a network from scratch, also by time."""

from functools import partial

from training.datasets.experiment import Splits, read_splits
from training.fit.pretrained import compute_features, head_options, read_seconds
from training.recipe import change_recipe
from training.studies.reporting import add_trial
from training.studies.session import Findings, Session, Trial


def run(session: Session) -> Findings:
    """Fit both ways on the same photos; the time of the first includes its features'."""
    findings = Findings()
    ways = [way for way in session.study.grid["way"] if session.bases or way != "transfer"]
    measure = partial(_measure, session, read_splits(session.recipe))
    for trial in session.executor.map(measure, ways):
        add_trial(findings, session, trial)
        findings.figures |= {
            f"{trial.name}_accuracy": trial.row["accuracy"],
            f"{trial.name}_validation_loss": trial.row["validation_loss"],
            f"{trial.name}_seconds": trial.row["seconds"] + trial.row["feature_seconds"],
        }
    return findings


def _measure(session: Session, splits: Splits, way: str) -> Trial:
    recipe, feature_seconds = session.recipe, 0.0
    if way == "transfer":
        base, precision = session.bases[0], recipe.schedule.precision
        train, validation = (
            compute_features(split, base, 0, False, session.features, precision) for split in splits
        )
        splits = train, validation
        feature_seconds = sum(map(read_seconds, splits))
        head = {key: session.study.options[key] for key in ("pooling", "dense")}
        options = head_options(base, recipe.data.size, 0, False, **head)
        recipe = change_recipe(
            recipe, {"network.name": "backbone_head", "network.options": options}
        )
    trial = session.fit({"way": way}, recipe, splits, name=way)
    seconds = trial.row["seconds"]
    trial.row |= {
        "accuracy": trial.accuracy,
        "seconds_per_epoch": round(seconds / trial.row["epochs_run"], 3),
        "seconds_per_step": round(seconds / trial.history[-1]["step"], 4),
        "feature_seconds": round(feature_seconds, 1),
    }
    return trial
