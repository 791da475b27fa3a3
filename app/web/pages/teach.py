"""The teaching page: new classes from a few samples, learned in the visitor's browser."""

from flask import Blueprint, render_template
from flask.typing import ResponseReturnValue

from app.web.i18n import strings
from app.web.server.state import state

blueprint = Blueprint("teach", __name__)


@blueprint.get("/teach")
def page() -> ResponseReturnValue:
    """Show the teaching page, with the regions whose networks are loaded."""
    regions = sorted(state().teacher.bodies)
    return render_template("teach.html", regions=regions, strings=strings.TEACH_PAGE)
