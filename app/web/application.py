"""Join the parts of the web application."""

import logging
from pathlib import Path

from flask import Flask
from flask_bootstrap import Bootstrap5

from app import __version__
from app.catalog import load_analyzer
from app.settings import Settings
from app.web import (
    about,
    api,
    errors,
    health,
    languages,
    metrics,
    models,
    pages,
    realtime,
    security,
    steps,
    stream,
    turns,
)
from app.web.uploads import ANALYZER, MemoryOnlyRequest

ROOT = Path(__file__).resolve().parents[2]


class Raut(Flask):
    """Take every upload in memory."""

    request_class = MemoryOnlyRequest


def build_application(settings: Settings | None = None) -> Flask:
    """Build the application: settings, models, pages and API.

    Raises `app.vision.cards.ModelError` where a model is missing or altered; an application
    that is returned has verified, loaded and run every model once. An inference server that
    doesn't answer yet is waited for by refusing photos: no worker may end for its sake.
    """
    settings = settings or Settings()
    app = Raut("raut", root_path=str(ROOT))
    app.config.update(
        BOOTSTRAP_SERVE_LOCAL=True,
        MAX_CONTENT_LENGTH=settings.max_upload_mb * 1_000_000,
        MAX_UPLOAD_MB=settings.max_upload_mb,
        EFFORT=settings.effort,
        SENDS_CROPS=settings.runtime == "remote",
        TRUSTED_HOSTS=settings.trusted_hosts or None,
        VERSION=__version__,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined] # classes keep their models' order
    app.logger.setLevel(logging.INFO)
    app.extensions[ANALYZER] = load_analyzer(settings, patient=True)
    Bootstrap5(app)
    metrics.init_metrics(app)
    security.init_security(app)
    errors.init_errors(app)
    languages.init_languages(app)
    for part in (pages, realtime, steps, models, about, api, health):
        app.register_blueprint(part.blueprint)
    turns.init_turns(app, settings)
    stream.init_streams(app, settings)
    return app
