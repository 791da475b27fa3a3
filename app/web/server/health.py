"""Report a supervisor whether the process lives and is ready for more."""

from flask import Blueprint, Response, jsonify

from app.web.server.state import state

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """Answer as long as the process does."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def readyz() -> Response:
    """Name the models; the application exists only once each was verified, loaded and run.

    An inference server is asked again, within its time: it may have gone since. Raises `RautError`
    while nothing more should be sent here.
    """
    state().readiness.check()
    analyzer = state().analyzer
    if state().settings.runtime == "remote":
        analyzer.warm_up()
    return jsonify(status="ready", models=sorted(analyzer.classifiers))
