"""The pages that people open in a browser."""

from typing import Any

from flask import Blueprint, current_app, render_template, request
from flask.typing import ResponseReturnValue

from app.refusals import Refusal
from app.web import sentences, uploads
from app.web.choices import shown_choice, visitors_choice
from app.web.errors import tell_refusal
from app.web.turns import current_turns
from app.web.uploads import current_analyzer, read_upload

blueprint = Blueprint("pages", __name__)
blueprint.add_app_template_filter(sentences.probability, "probability")
blueprint.add_app_template_filter(sentences.label, "label")


@blueprint.get("/")
def photo() -> ResponseReturnValue:
    """Show the photo page, waiting for a photo."""
    return photo_page()


@blueprint.post("/")
def photo_without_script() -> ResponseReturnValue:
    """Answer the plain form of a browser that runs no JavaScript."""
    try:
        with current_turns().photo():
            data = read_upload(request)
            analysis = uploads.analyze(data, visitors_choice(request, current_analyzer()))
    except Refusal as refusal:
        page = photo_page(problem=tell_refusal(refusal))
        return page, refusal.status, refusal.headers
    return photo_page(analysis=analysis.to_json())


def photo_page(**outcome: Any) -> str:
    """Render the photo page with what came of a photo, if one was sent."""
    return render_template(
        "index.html",
        choice=shown_choice(request, current_analyzer()),
        strings=sentences.for_script(),
        limit_mb=current_app.config["MAX_UPLOAD_MB"],
        **outcome,
    )
