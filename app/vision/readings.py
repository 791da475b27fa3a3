"""Hold what the analyzer reads in a photo, and its one JSON shape."""

from dataclasses import dataclass, field
from typing import Any

from app.vision.geometry import Box


@dataclass(frozen=True)
class Detection:
    """Say where a face is.

    `box` is the face's square before turning: turned clockwise about its centre by
    `roll_degrees` (-180 to 180, 0 when upright), it lies on the face. `score` is the probability
    that a face is there.
    """

    box: Box
    score: float
    roll_degrees: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """Hold one classifier's answer for one picture.

    `probabilities` maps each class to its calibrated probability, and `NONE_OF_THESE` to its own
    where the head can answer that; they sum to 1. `confident` is false where the best class stays
    under `threshold`, the threshold for this very picture.
    """

    label: str
    probability: float
    confident: bool
    probabilities: dict[str, float]
    threshold: float

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as a JSON object."""
        return {
            "label": self.label,
            "probability": round(self.probability, 4),
            "confident": self.confident,
            "probabilities": {name: round(p, 4) for name, p in self.probabilities.items()},
        }


@dataclass(frozen=True)
class FaceReading:
    """Hold a face: where it is, and what each model reads in it, by the model's task."""

    detection: Detection
    predictions: dict[str, Prediction]

    def to_json(self) -> dict[str, Any]:
        """Return the face as a JSON object."""
        return {
            "box": self.detection.box.to_json(),
            "score": round(self.detection.score, 4),
            "roll_degrees": round(self.detection.roll_degrees, 1),
            **{task: prediction.to_json() for task, prediction in self.predictions.items()},
        }


@dataclass(frozen=True)
class Analysis:
    """Hold all that was read in one photo.

    `width` and `height` are the upright photo's, in pixels; `timings_ms` the milliseconds of
    each stage. `models` holds the first 12 hex digits of each model file's SHA-256, and
    `image_predictions` the predictions for the whole image, both by the model's name.
    """

    width: int
    height: int
    faces: tuple[FaceReading, ...]
    timings_ms: dict[str, float]
    models: dict[str, str]
    image_predictions: dict[str, Prediction] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the analysis as the JSON object that the API, page and command line share."""
        answer: dict[str, Any] = {
            "image": {"width": self.width, "height": self.height},
            "faces": [face.to_json() for face in self.faces],
            "timings_ms": {stage: round(ms, 2) for stage, ms in self.timings_ms.items()},
            "models": self.models,
        }
        if self.image_predictions:
            answer["image_predictions"] = {
                name: p.to_json() for name, p in self.image_predictions.items()
            }
        return answer
