"""Define the readings of an image: the JSON answers, table rows and OpenAPI schema follow them."""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SerializeAsAny, WithJsonSchema

from app.vision.geometry import Box


def _number(digits: int, **bounds: float) -> tuple[PlainSerializer, WithJsonSchema]:
    """Round a number in JSON, and describe its range there without checking it."""
    schema = {"type": "number", **bounds}
    return PlainSerializer(partial(round, ndigits=digits)), WithJsonSchema(schema)


Probability = Annotated[float, *_number(4, minimum=0, maximum=1)]
Milliseconds = Annotated[float, *_number(2, minimum=0)]
Degrees = Annotated[float, *_number(1, minimum=-180, maximum=180)]


# Why a face can't be read, whatever a network answers.
Reason = Literal["covered", "turned", "blurred", "tiny", "dark"]


class _Reading(BaseModel):
    model_config = ConfigDict(frozen=True, json_schema_serialization_defaults_required=True)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that the API, pages and command line share."""
        return self.model_dump(mode="json")


class Detection(_Reading):
    """Locate a face.

    `box` is the face's square before rotation: rotated clockwise about its centre by
    `roll_degrees` (-180 to 180, 0 when upright), it lies on the face. `score` is the probability
    that it holds a face. `reasons` are the probabilities that it can't be read, because the face is
    covered_lower (mouth), covered_eyes, turned or blurred.
    """

    box: Box
    score: Probability
    roll_degrees: Degrees = Field(
        0.0,
        description="Clockwise rotation: the box rotated by it about its centre lies on the face.",
    )
    reasons: dict[str, float] = Field({}, exclude=True)


class Prediction(_Reading):
    """Hold one classifier's prediction for one crop or image.

    `probabilities` maps each class to its calibrated probability, and `NONE_OF_THESE` to its own
    where the head has an out-of-distribution threshold; they sum to 1. `confident` is false where
    `probability` is below `threshold`, the threshold for this very crop, and where there is a
    `reason` for which the face can't be read.
    """

    label: str
    probability: Probability
    confident: bool
    probabilities: dict[str, Probability]
    threshold: Probability
    reason: Reason | None = Field(
        None,
        exclude_if=lambda reason: reason is None,
        description="Why the face can't be read; only where `confident` is false for it.",
    )


class FaceReading(Detection):
    """Add to a face the prediction of each model, under the model's task."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Prediction]

    @property
    def predictions(self) -> dict[str, Prediction]:
        """Map each task to its prediction."""
        return self.__pydantic_extra__


class TrackedFace(FaceReading):
    """Add to a face its number on one camera.

    `track` counts from 1 and is never reused. `detected` is false while the face is missed and
    reported at its last position.
    """

    track: int
    detected: bool


class Size(_Reading):
    """Give the size of the upright image in pixels, and whether the whole of it was there."""

    width: int
    height: int
    complete: bool = Field(
        True,
        description="False for a JPEG that breaks off: it is read as far as it goes, and the rest "
        "of the photo is grey.",
    )


class Analysis(_Reading):
    """Hold all readings of one image.

    `timings_ms` maps each stage to its milliseconds, `models` each model's name to the first 12
    hex digits of its file's SHA-256.
    """

    image: Size
    faces: tuple[SerializeAsAny[FaceReading], ...]
    truncated: bool = Field(
        False, description="Whether there are more faces: only those with the best scores are read."
    )
    timings_ms: dict[str, Milliseconds]
    models: dict[str, str]
    image_predictions: dict[str, Prediction] = Field(
        {},
        exclude_if=lambda predictions: not predictions,
        description="Predictions for the whole image, by the model's name. The label "
        "none_of_these means that the image shows none of the model's classes.",
    )
