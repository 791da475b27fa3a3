"""The pages of the published studies that were repeated: the papers' figures beside ours."""

from flask import Blueprint, abort, render_template

from app.web.server.state import state

blueprint = Blueprint("studies", __name__)


@blueprint.get("/models/studies/<name>")
def page(name: str) -> str:
    """Show one study's results."""
    study = state().studies.get(name)
    if study is None:
        abort(404, f"There are no results of a study {name!r} here.")
    return render_template("models/study.html", study=study)
