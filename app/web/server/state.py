"""Hold what all requests of one application share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import Flask, current_app

from app.samples import Sample
from app.settings import Settings
from app.studies import StudyResults
from app.vision.explain.explanation import Explainer
from app.vision.pipeline import FaceAnalyzer
from app.vision.teaching import Teacher

if TYPE_CHECKING:
    from app.web.server.admission import AdmissionQueue, StreamSlots
    from app.web.server.rate_limit import RateLimiter
    from app.web.server.readiness import Readiness

KEY = "raut"  # in Flask's `app.extensions`


@dataclass
class AppState:
    """Join the settings and the objects made from them at the start.

    `studies` maps names to results; `rate_limiter` is None where no client is counted.
    """

    settings: Settings
    analyzer: FaceAnalyzer
    explainer: Explainer
    teacher: Teacher
    studies: dict[str, StudyResults]
    samples: tuple[Sample, ...]
    admission: AdmissionQueue
    stream_slots: StreamSlots
    readiness: Readiness
    rate_limiter: RateLimiter | None


def state_of(app: Flask) -> AppState:
    """Return the state of an application."""
    return cast(AppState, app.extensions[KEY])


def state() -> AppState:
    """Return the state of the current request's application."""
    return state_of(current_app)
