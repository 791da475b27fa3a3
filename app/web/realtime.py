"""The live page: a camera's faces as they move."""

from flask import Blueprint, current_app, render_template, request
from flask.typing import ResponseReturnValue

from app.vision.tracking import MOST_SMOOTHING_SECONDS, SMOOTHING_SECONDS
from app.web import sentences
from app.web.choices import LABELS, MODELS, shown_choice
from app.web.uploads import current_analyzer

blueprint = Blueprint("realtime", __name__)


@blueprint.get("/realtime")
def page() -> ResponseReturnValue:
    """Show the live page, waiting for its reader to start the camera."""
    choice = shown_choice(request, current_analyzer())
    return render_template(
        "realtime.html",
        choice={field: choice[field] for field in (MODELS, LABELS) if field in choice},
        strings=sentences.for_realtime(),
        limit_mb=current_app.config["MAX_UPLOAD_MB"],
        smoothing_seconds=SMOOTHING_SECONDS,
        most_smoothing_seconds=MOST_SMOOTHING_SECONDS,
    )
