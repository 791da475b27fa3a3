"""The film page: a film's expressions over time, read frame by frame from the visitor's browser."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from app.web.api.model_selection import face_choice
from app.web.i18n import strings

FRAMES_PER_SECOND = 5
MOST_FRAMES_PER_SECOND = 25

blueprint = Blueprint("video", __name__)


@blueprint.get("/video")
def page() -> ResponseReturnValue:
    """Show the film page, waiting for its reader to choose a film."""
    return render_template(
        "video.html",
        choice=face_choice(),
        strings=strings.FILM_PAGE,
        rate=FRAMES_PER_SECOND,
        most_rate=MOST_FRAMES_PER_SECOND,
    )
