"""Which models answer a visitor: what the request names, or else the visitor's own choice.

A choice is kept as the API's own form fields, joined as a query is: in the page's address for
one visit, in a cookie for longer.
"""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from app.errors import RautError
from app.vision.models.classifiers import Classifier
from app.vision.models.selection import split_names
from app.vision.pipeline import check_effort, of_region
from app.web.server.state import state

MODELS = "models"
LABELS = "label_set"
EFFORT = "effort"
DETECTOR = "detector"
FIELDS = (MODELS, LABELS, EFFORT, DETECTOR)
COOKIE = "raut_models"

Choice = dict[str, str]


def named_choice(*sources: Mapping[str, str]) -> Choice:
    """Return what forms or queries name; an earlier one goes first."""
    found = {field: next(filter(None, (s.get(field) for s in sources)), "") for field in FIELDS}
    return {field: value for field, value in found.items() if value}


def visitors_choice() -> Choice:
    """Return the request's own choice, and for what it leaves open the cookie's.

    A cookie whose models are no longer loaded, or don't go with what the request names, counts
    for nothing. Raises `RautError` where the request names a model or labels that aren't loaded, or
    no effort or detector.
    """
    named = named_choice(sent_form(), request.args)
    choose(named)
    kept = named_choice(dict(parse_qsl(request.cookies.get(COOKIE, ""))))
    try:
        choose(kept | named)
    except RautError:
        return named
    return kept | named


def sent_form() -> Mapping[str, str]:
    """Return the request's form, and an empty one of a refused upload, which can't be read."""
    try:
        return request.form
    except RequestEntityTooLarge:
        return {}


def choose(choice: Choice) -> dict[str, Classifier]:
    """Return the models that a choice asks for, by their names. Raises `RautError`."""
    if EFFORT in choice:
        check_effort(choice[EFFORT])
    analyzer = state().analyzer.with_detector(choice.get(DETECTOR))
    return analyzer.choose(model_names(choice), choice.get(LABELS))


def model_names(choice: Choice) -> list[str] | None:
    """Return the models that a choice names, none where it leaves them open."""
    return split_names(choice.get(MODELS))


def effort_of(choice: Choice) -> str:
    """Return the effort of a choice, by default the settings'."""
    return choice.get(EFFORT) or state().settings.effort


def shown_choice() -> Choice:
    """Return the visitor's choice, and an empty one where the address names what isn't there."""
    try:
        return visitors_choice()
    except RautError:
        return {}


def face_choice() -> Choice:
    """Return what `shown_choice` does, without the models and the effort that a stream lacks."""
    choice = shown_choice()
    named = choose(choice) if MODELS in choice else {}
    faces = ",".join(of_region(named, "face"))
    return named_choice({MODELS: faces, LABELS: choice.get(LABELS, "")})
