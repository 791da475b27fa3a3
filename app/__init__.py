"""Raut finds faces in photos and reads the expression shown and the perceived gender."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings
    from app.web.asgi import ASGIApplication

__version__ = "0.1.0"


def create_app(settings: Settings | None = None) -> Flask:
    """Build the web application, by settings from the environment where none are given.

    Raises `app.vision.models.cards.ModelError` where a model is missing or altered, and
    `app.studies.StudyError` where a study's results can't be read; an application
    that is returned has verified, loaded and run every model once.
    """
    # Who reads photos without the server needs no Flask, which takes 0.15 s and 12 MB to import.
    from app.web.factory import build_application

    return build_application(settings)


def create_asgi_app(settings: Settings | None = None) -> ASGIApplication:
    """Build the web application with its live streams. Raises as `create_app`."""
    from app.web.asgi import ASGIApplication

    return ASGIApplication(create_app(settings))
