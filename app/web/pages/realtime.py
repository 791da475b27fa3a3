"""The live page: a camera's faces as they move."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from app.vision.tracking import MOST_SMOOTHING_SECONDS, SMOOTHING_SECONDS
from app.web.api.model_selection import face_choice
from app.web.i18n import strings

blueprint = Blueprint("realtime", __name__)


@blueprint.get("/realtime")
def page() -> ResponseReturnValue:
    """Show the live page, waiting for its reader to start the camera."""
    return render_template(
        "realtime.html",
        choice=face_choice(),
        strings=strings.LIVE_PAGE,
        smoothing_seconds=SMOOTHING_SECONDS,
        most_smoothing_seconds=MOST_SMOOTHING_SECONDS,
    )
