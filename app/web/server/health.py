"""Tell a supervisor whether the process lives and is ready for more."""

from flask import Blueprint, Response, current_app, jsonify

from app.web.api.uploads import current_analyzer
from app.web.server.readiness import current_readiness

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
    current_readiness().check()
    if current_app.config["SENDS_CROPS"]:
        current_analyzer().warm_up()
    return jsonify(status="ready", models=sorted(current_analyzer().classifiers))
