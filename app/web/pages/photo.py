"""The photo page, and the form that a browser without JavaScript sends from it."""

from typing import Any

from flask import Blueprint, abort, current_app, render_template
from flask.typing import ResponseReturnValue

from app.errors import RautError
from app.vision.models.classifiers import Classifier
from app.vision.pipeline import of_region
from app.vision.table import list_columns, list_versions
from app.web.api import uploads
from app.web.api.model_selection import choose, effort_of, shown_choice, visitors_choice
from app.web.api.uploads import read_upload
from app.web.i18n import strings
from app.web.server.error_responses import error_on_page
from app.web.server.state import state

CLOTHING = "clothing"


blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def photo() -> ResponseReturnValue:
    """Show the photo page, waiting for a photo."""
    # With no-store browsers would discard the page, and the visitor's photos with it, when he
    # follows a link; so Back returns to them.
    return photo_page(), {"Cache-Control": "private, no-cache"}


@blueprint.get("/samples/<int:number>")
def sample(number: int) -> ResponseReturnValue:
    """Send a sample photo."""
    samples = state().samples
    if number >= len(samples):
        abort(404)
    return samples[number].data, {"Content-Type": samples[number].content_type}


@blueprint.get("/favicon.ico")
def icon() -> ResponseReturnValue:
    """Answer what asks for an icon without reading the page."""
    return current_app.send_static_file("favicon.svg")


@blueprint.post("/")
def photo_without_script() -> ResponseReturnValue:
    """Answer the plain form of a browser that runs no JavaScript."""
    try:
        with state().admission.photo():
            data = read_upload()
            analysis = uploads.analyze(data, visitors_choice())
    except RautError as error:
        return error_on_page(photo_page, error)
    return photo_page(analysis=analysis)


def photo_page(**outcome: Any) -> str:
    """Render the photo page with what came of a photo, if one was sent."""
    choice = shown_choice()
    models = choose(choice)
    answering = list(models.values())
    return render_template(
        "photo.html",
        choice=choice,
        clothing_model=_find_clothing_model(),
        clothing=_answers_for_clothing(answering),
        regions={classifier.card.region for classifier in answering},
        strings=strings.PHOTO_PAGE,
        table=_describe_table(models),
        effort=effort_of(choice),
        samples=state().samples,
        **outcome,
    )


def _describe_table(models: dict[str, Classifier]) -> dict[str, Any]:
    """Return the columns of the page's CSV, the command line's, and what each row says alike."""
    versions = list_versions(state().analyzer, models)
    columns = [name for name in list_columns(models, versions) if name != "picture"]
    return {"columns": columns, "versions": versions}


def _find_clothing_model() -> str | None:
    """Name the model that the page's tab for clothing asks, where there are models for each tab."""
    analyzer = state().analyzer
    if not of_region(analyzer.classifiers, "face"):
        return None
    named = (name for name in analyzer.image_models if _reads_clothes(analyzer.classifiers[name]))
    return next(named, None)


def _answers_for_clothing(answering: list[Classifier]) -> Classifier | None:
    """Return the model that answers, where it reads clothes and is alone in answering."""
    return next(filter(_reads_clothes, answering), None) if len(answering) == 1 else None


def _reads_clothes(classifier: Classifier) -> bool:
    return classifier.card.region == "image" and classifier.card.task == CLOTHING
