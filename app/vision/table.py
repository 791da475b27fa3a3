"""Lay readings out as a table: a row for each face, with the same columns everywhere."""

from typing import Any

from app import __version__
from app.vision.detection.detector import FACE_CLASSIFIER
from app.vision.geometry import Box
from app.vision.models.classifiers import Classifier
from app.vision.pipeline import EXPRESSION, FaceAnalyzer, of_region
from app.vision.readings import Analysis, FaceReading, Prediction, Size

Row = dict[str, Any]
WHOLE = "image_"  # the prefix of the columns for the whole image


def list_rows(answer: dict[str, Any]) -> list[Row]:
    """Return a row for each face of an image's JSON answer, or one for an image without faces.

    The answer may have the image's `picture` (its number), `file`, `time_s`, `frame` and `cut` too;
    `track` is set for films only, by `app.batch.tracks`.
    """
    shared = {
        **{name: answer.get(name) for name in ("picture", "file", "time_s", "frame", "cut")},
        **answer["image"],
        "faces": len(answer["faces"]),
        **_flatten(answer.get("image_predictions", {}), WHOLE),
    }
    faces = [
        {"face": number, "track": None, **_flatten(face)}
        for number, face in enumerate(answer["faces"], 1)
    ]
    return [shared | face for face in faces or [{}]]


def list_versions(analyzer: FaceAnalyzer, used: dict[str, Classifier]) -> Row:
    """Return what every row says of the models that read: label set, model files and release."""
    labels = used[EXPRESSION].head_name if EXPRESSION in used else ""
    digests = {
        f"model_{name}": digest[:12] for name, digest in list_digests(analyzer, used).items()
    }
    return {"label_set": labels, **digests, "raut_version": __version__}


def list_digests(analyzer: FaceAnalyzer, used: dict[str, Classifier]) -> dict[str, str]:
    """Return the SHA-256 of each model that reads, with the face classifier's where faces are."""
    digests = {name: classifier.digest for name, classifier in used.items()}
    if of_region(used, "face"):
        digests[FACE_CLASSIFIER] = analyzer.detector.face_classifier.digest
    return digests


def list_columns(used: dict[str, Classifier], versions: Row) -> dict[str, type]:
    """Return each column, the same in every row, and the type of its values."""
    (row,) = list_rows(_example(used))
    if "track" in row:
        row["track"] = 0
    row |= versions | {"error": "", "error_detail": ""}
    return {name: type(value) for name, value in row.items()}


def _flatten(values: dict[str, Any], prefix: str = "") -> Row:
    """Join nested keys with underscores: expression_probabilities_happy."""
    flat: Row = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}_")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _example(classifiers: dict[str, Classifier]) -> dict[str, Any]:
    predictions = {
        name: Prediction(
            label="",
            probability=0,
            confident=False,
            probabilities=dict.fromkeys(classifier.head.labels, 0),
            threshold=0,
            reason="tiny" if classifier.card.visibility else None,
        )
        for name, classifier in classifiers.items()
    }
    faces = {each.card.task: predictions[n] for n, each in of_region(classifiers, "face").items()}
    example = Analysis(
        image=Size(width=0, height=0),
        faces=(FaceReading(box=Box(0, 0, 0, 0), score=0, **faces),),
        timings_ms={},
        models={},
        image_predictions={name: predictions[name] for name in of_region(classifiers, "image")},
    )
    named = {"picture": 0, "file": "", "time_s": 0.0, "frame": 0, "cut": False}
    return named | example.to_json()
