"""Join the parts of the web application."""

import logging

from flask import Flask
from flask_bootstrap import Bootstrap5

from app import __version__
from app.paths import DATA
from app.samples import read_samples
from app.settings import FORM_BYTES, Settings, read_settings
from app.studies import read_studies
from app.vision.explain.explanation import Explainer
from app.vision.loading import load_analyzer
from app.vision.teaching import Teacher
from app.web.api import routes, stream
from app.web.api.uploads import ACCEPTED, MemoryOnlyRequest
from app.web.i18n import formats, locale
from app.web.pages import about, models, photo, realtime, steps, studies, teach, video
from app.web.server import (
    auth,
    compression,
    error_responses,
    health,
    metrics,
    rate_limit,
    security,
)
from app.web.server.admission import AdmissionQueue, StreamSlots
from app.web.server.logging import write_line
from app.web.server.readiness import Readiness
from app.web.server.state import KEY, AppState


def build_application(settings: Settings | None = None) -> Flask:
    """Build the application: settings, models, pages and API.

    Raises `app.vision.models.cards.ModelError` where a model is missing or altered, and
    `app.studies.StudyError` where a study's results can't be read; an application
    that is returned has verified, loaded and run every model once. An inference server that
    doesn't answer yet is waited for by refusing photos: no worker may end for its sake.
    """
    settings = settings or read_settings()
    app = Flask("raut", root_path=str(DATA))
    app.request_class = MemoryOnlyRequest
    app.config.update(
        BOOTSTRAP_SERVE_LOCAL=True,
        MAX_CONTENT_LENGTH=settings.most_body_bytes,
        MAX_FORM_MEMORY_SIZE=FORM_BYTES,
        TRUSTED_HOSTS=settings.trusted_hosts or None,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined] # classes keep their models' order
    app.logger.setLevel(logging.INFO)
    app.extensions[KEY] = _build_state(settings)
    app.jinja_env.globals.update(
        sends_crops=settings.runtime == "remote",
        limit_mb=settings.max_upload_mb,
        accepted_types=ACCEPTED,
        version=__version__,
    )
    Bootstrap5(app)
    metrics.init_metrics(app)
    error_responses.init_errors(app)
    app.after_request(write_line)
    security.init_security(app, settings)
    app.after_request(compression.compress)
    locale.init_locale(app)
    auth.init_auth(app, settings)
    app.before_request(rate_limit.spend_on_photos)
    pages = (photo, realtime, video, steps, teach, models, studies, about)
    for module in (*pages, routes, stream, health):
        app.register_blueprint(module.blueprint)
    return app


def _build_state(settings: Settings) -> AppState:
    analyzer = load_analyzer(settings, patient=True)
    for classifier in analyzer.classifiers.values():
        formats.add_labels(classifier.card.labels)
    queue = AdmissionQueue(settings.at_once, settings.queue_seconds)
    return AppState(
        settings=settings,
        analyzer=analyzer,
        explainer=Explainer(analyzer, settings.threads),
        teacher=Teacher(analyzer, settings.threads),
        studies=read_studies(settings.studies),
        samples=read_samples(settings.samples),
        admission=queue,
        stream_slots=StreamSlots(settings.streams_per_worker, settings.streams_per_client),
        readiness=Readiness(queue, settings.workers),
        rate_limiter=rate_limit.build_rate_limiter(settings),
    )
