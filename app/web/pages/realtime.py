"""The live page: a camera's faces as they move."""

from flask import Blueprint, current_app, render_template, request
from flask.typing import ResponseReturnValue

from app.vision.pipeline import of_region
from app.vision.tracking import MOST_SMOOTHING_SECONDS, SMOOTHING_SECONDS
from app.web.api.model_selection import LABELS, MODELS, Choice, choose, named_choice, shown_choice
from app.web.api.uploads import current_analyzer
from app.web.i18n import strings

blueprint = Blueprint("realtime", __name__)


@blueprint.get("/realtime")
def page() -> ResponseReturnValue:
    """Show the live page, waiting for its reader to start the camera."""
    return render_template(
        "realtime.html",
        choice=_keep_faces(shown_choice(request, current_analyzer())),
        strings=strings.for_realtime(),
        limit_mb=current_app.config["MAX_UPLOAD_MB"],
        smoothing_seconds=SMOOTHING_SECONDS,
        most_smoothing_seconds=MOST_SMOOTHING_SECONDS,
    )


def _keep_faces(choice: Choice) -> Choice:
    """Return what a choice says of the models that read faces."""
    named = choose(current_analyzer(), choice) if MODELS in choice else {}
    faces = ",".join(of_region(named, "face"))
    return named_choice({MODELS: faces, LABELS: choice.get(LABELS, "")})
