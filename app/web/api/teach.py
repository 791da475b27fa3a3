"""Teach new classes over HTTP: the features of a photo, and a model folder for a fitted head."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from app.vision.geometry import Box
from app.vision.models.cards import Region
from app.web.api.uploads import request_budget
from app.web.server.state import state

REGION = "region"


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


def _encode(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()
