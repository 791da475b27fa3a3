"""Join the parts of the web application."""

import logging

from flask import Flask
from flask_bootstrap import Bootstrap5

from app import __version__
from app.paths import DATA
from app.settings import FORM_BYTES, Settings, read_settings
from app.studies import read_studies
from app.vision.models.loading import load_analyzer
from app.web.api import routes, stream
from app.web.api.uploads import ANALYZER, MemoryOnlyRequest
from app.web.i18n import locale
from app.web.pages import about, models, photo, realtime, steps, studies
from app.web.pages.studies import STUDIES
from app.web.server import (
    admission,
    auth,
    error_responses,
    health,
    metrics,
    rate_limit,
    readiness,
    security,
)
from app.web.server.logging import init_logging


class Raut(Flask):
    """Take every upload in memory."""

    request_class = MemoryOnlyRequest


def build_application(settings: Settings | None = None) -> Flask:
    """Build the application: settings, models, pages and API.

    Raises `app.vision.models.cards.ModelError` where a model is missing or altered, and
    `app.studies.StudyError` where a study's results can't be read; an application
    that is returned has verified, loaded and run every model once. An inference server that
    doesn't answer yet is waited for by refusing photos: no worker may end for its sake.
    """
    settings = settings or read_settings()
    app = Raut("raut", root_path=str(DATA))
    app.config.update(
        BOOTSTRAP_SERVE_LOCAL=True,
        MAX_CONTENT_LENGTH=settings.most_body_bytes,
        MAX_FORM_MEMORY_SIZE=FORM_BYTES,
        MAX_PHOTO_BYTES=settings.most_photo_bytes,
        MAX_UPLOAD_MB=settings.max_upload_mb,
        EFFORT=settings.effort,
        THREADS=settings.threads,
        SENDS_CROPS=settings.runtime == "remote",
        TRUSTED_HOSTS=settings.trusted_hosts or None,
        VERSION=__version__,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined] # classes keep their models' order
    app.logger.setLevel(logging.INFO)
    app.extensions[ANALYZER] = load_analyzer(settings, patient=True)
    app.extensions[STUDIES] = read_studies(settings.studies)
    Bootstrap5(app)
    metrics.init_metrics(app)
    error_responses.init_errors(app)
    init_logging(app)
    security.init_security(app, settings)
    locale.init_locale(app)
    auth.init_auth(app, settings)
    rate_limit.init_rate_limit(app, settings)
    for part in (photo, realtime, steps, models, studies, about, routes, health):
        app.register_blueprint(part.blueprint)
    admission.init_admission(app, settings)
    readiness.init_readiness(app, settings)
    stream.init_streams(app, settings)
    return app
