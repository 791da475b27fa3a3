"""Teach new classes over HTTP: the features of a photo, and a model folder for a fitted head."""

import base64
import io
import zipfile
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from app.errors import RautError
from app.vision.geometry import Box
from app.vision.models.cards import NAME, NONE_OF_THESE, LocalizedText, Region, StrictModel
from app.vision.teaching import (
    MOST_CLASSES,
    MOST_LETTERS,
    RESERVED,
    WORDS,
    TaughtHead,
    are_alike,
    make_folder,
)
from app.web.api.uploads import request_budget
from app.web.server.state import state

REGION = "region"
Words = Annotated[str, Field(max_length=MOST_LETTERS, pattern=WORDS)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
PER_CLASS = Field(max_length=MOST_CLASSES)
# What each part of a head has to be, for the sentence that refuses another.
EXPECTED = {
    "name": "a name of up to 32 small letters, digits, - and _ that begins with a letter",
    "region": "face or image",
    "version": "the version of the features, as /api/v1/features gives it",
    "classes": "two to eight classes with different names; name, en and id have 1 to 60 characters "
    "without < > & and quotes",
    "weights": "float32 numbers in base64, a row for each class and in it one for each feature",
    "bias": "a number for each class",
    "temperature": "a number from 0.01 to 100",
    "threshold": "a number from 0 to 1",
    "figures": "accuracy, low, high, answered and right from 0 to 1, samples with a count above 0 "
    "for each class, recordings, and a square confusion matrix of counts",
}


class NewClass(StrictModel):
    """Name a class, with its words in both languages."""

    name: Words
    en: Words
    id: Words


class NewFigures(StrictModel, allow_inf_nan=False):
    """Say how right a head was by cross-validation: `right` are the `answered` at its threshold."""

    accuracy: Share
    low: Share
    high: Share
    samples: dict[str, Annotated[Count, Field(gt=0)]]
    recordings: Annotated[Count, Field(gt=0)]
    confusion: list[Annotated[list[Count], Field(max_length=MOST_CLASSES)]] = Field(
        max_length=MOST_CLASSES
    )
    answered: Share
    right: Share


class NewHead(StrictModel, allow_inf_nan=False):
    """Describe a linear head that was fitted to features."""

    name: str = Field(pattern=NAME)
    region: Region
    version: str
    classes: list[NewClass] = Field(min_length=2, max_length=MOST_CLASSES)
    weights: str = Field(description="float32, little-endian (classes, features), in base64.")
    bias: list[float] = PER_CLASS
    temperature: float = Field(1.0, ge=0.01, le=100)
    threshold: Share
    figures: NewFigures


class FeatureAnswer(BaseModel):
    """Answer with a photo's features."""

    region: Region
    version: str = Field(description="Of the networks: features of two versions don't go together.")
    length: int = Field(description="Number of features.")
    box: Box | None = Field(description="The face's, in the photo; null for a whole photo.")
    features: str | None = Field(description="float32, little-endian, in base64.")
    pixels: str | None = Field(description="The crop in grey, 24 x 24 uint8, in base64.")
    reason: Literal["no_face"] | None = Field(description="Why there are no features.")


def read_features(data: bytes, region: str) -> dict[str, Any]:
    """Return the JSON object for a photo's features. Raises `RautError`."""
    teacher = state().teacher
    network = teacher.network(region)
    sample = teacher.read(data, region, state().settings.effort, request_budget())
    return FeatureAnswer(
        region=network.region,
        version=network.version,
        length=network.length,
        box=sample.box if sample else None,
        features=_encode(sample.features.astype("<f4")) if sample else None,
        pixels=_encode(sample.pixels) if sample else None,
        reason=None if sample else "no_face",
    ).model_dump(mode="json")


def read_head(body: Any) -> tuple[str, bytes]:
    """Return the name of the head that a request's JSON describes, and its model folder as a ZIP.

    Raises `RautError` with the code `head_invalid` and the part at fault, or `features_outdated`.
    """
    try:
        new = NewHead.model_validate(body)
    except ValidationError as error:
        raise _invalid(str((error.errors()[0]["loc"] or ("name",))[0])) from error
    network = state().teacher.network(new.region)
    if new.version != network.version:
        raise RautError(
            "features_outdated",
            "The samples were read by other networks than this server has now, and features of two "
            "versions don't go together. Show the samples again.",
        )
    files = make_folder(network, _check(new, network.length))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{new.name}/{name}", content)
    return new.name, packed.getvalue()


def _check(new: NewHead, length: int) -> TaughtHead:
    """Return the head, its parts checked against each other."""
    served = state().analyzer.classifiers.get(new.name)
    if new.name in RESERVED or (served and not served.card.labels):
        raise RautError(
            "name_taken", f"{new.name!r} is a model of Raut itself. Choose another name."
        )
    names = [each.name for each in new.classes]
    count, figures = len(names), new.figures
    if are_alike(names) or NONE_OF_THESE in names:
        raise _invalid("classes")
    if len(new.bias) != count:
        raise _invalid("bias")
    sides = {len(figures.confusion), *map(len, figures.confusion)}
    if set(figures.samples) != set(names) or sides != {count}:
        raise _invalid("figures")
    try:
        weights = np.frombuffer(base64.b64decode(new.weights, validate=True), "<f4")
        weights = weights.reshape(count, length).astype(np.float32)
    except ValueError as error:
        raise _invalid("weights") from error
    if not np.isfinite(weights).all():
        raise _invalid("weights")
    bias = np.array(new.bias, np.float64)
    if not (np.abs(bias) < np.finfo(np.float32).max).all():
        raise _invalid("bias")
    confusion = np.array(figures.confusion)
    named = np.maximum(confusion.sum(0) + confusion.sum(1), 1)
    told = ", ".join(f"{n} of {name}" for name, n in figures.samples.items())
    return TaughtHead(
        name=new.name,
        labels={each.name: LocalizedText(en=each.en, id=each.id) for each in new.classes},
        weights=weights,
        bias=bias.astype(np.float32),
        temperature=new.temperature,
        threshold=new.threshold,
        figures={
            "count": sum(figures.samples.values()),
            "recordings": figures.recordings,
            "accuracy": figures.accuracy,
            "accuracy_interval": [figures.low, figures.high],
            "macro_f1": float((2 * confusion.diagonal() / named).mean()),
            "unanswered": 1 - figures.answered,
            "accuracy_of_answers_given": figures.right,
            "confusion": figures.confusion,
        },
        source=f"Samples shown on the page /teach: {told}; {figures.recordings} recordings.",
        command="the page /teach",
    )


def _invalid(field: str) -> RautError:
    expected = EXPECTED.get(field)
    if expected is None:
        detail = f"A head has no {field!r}. Its parts: {', '.join(EXPECTED)}."
    else:
        detail = f"The head's {field} must be {expected}."
    return RautError("head_invalid", detail, field=field)


def _encode(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
