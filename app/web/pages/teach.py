"""The teaching page: new classes from a few samples, learned in the visitor's browser."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from app.vision.pipeline import of_region
from app.web.i18n import strings
from app.web.server.state import state

blueprint = Blueprint("teach", __name__)


@blueprint.get("/teach")
def page() -> ResponseReturnValue:
    """Show the teaching page, with the regions whose networks are loaded."""
    classifiers = state().analyzer.classifiers
    return render_template(
        "teach.html",
        regions=[region for region in ("face", "image") if of_region(classifiers, region)],
        strings=strings.TEACH_PAGE,
        limit_mb=state().settings.max_upload_mb,
    )
