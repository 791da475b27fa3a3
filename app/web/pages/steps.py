"""The page that shows every step between a photo and its answer."""

import io
import json
import math
import zipfile
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.errors import RautError
from app.vision.detection.detector import DETECTORS, EFFORTS
from app.vision.explain.explanation import ADJUSTABLE, Explanation
from app.vision.pipeline import of_region
from app.web.api import model_selection
from app.web.api.model_selection import DETECTOR, LABELS
from app.web.api.uploads import FIELD, find_upload, read_upload, request_budget
from app.web.i18n import formats, strings
from app.web.i18n.step_text import STEPS
from app.web.pages import step_views
from app.web.pages.step_views import View
from app.web.server.error_responses import error_on_page
from app.web.server.rate_limit import consume_quota
from app.web.server.state import state

SECOND = "second"  # The form's field of a second photo, shown beside the first.
PHOTOS_PER_EXPLANATION = 4  # in processor time, about
FACES = {FIELD: "face", SECOND: "second_face"}  # Each photo's field, and that of its face.


blueprint = Blueprint("steps", __name__, url_prefix="/steps")


@dataclass(frozen=True)
class Panel:
    """Hold one photo on the page: its explanation, and the view of each stage by its id."""

    field: str
    name: str
    explanation: Explanation
    views: dict[str, View]


@blueprint.get("")
def page() -> ResponseReturnValue:
    """Show the page, waiting for a photo."""
    return _page()


@blueprint.post("")
def show() -> ResponseReturnValue:
    """Show the stages of the photo that the form brings, and of a second one beside it."""
    try:
        return _page(panels=_explain_uploads())
    except RautError as error:
        return error_on_page(_page, error)


@blueprint.post("/stages.zip")
def download() -> ResponseReturnValue:
    """Answer with every stage's pictures and numbers as one ZIP file."""
    try:
        panels = _explain_uploads()
    except RautError as error:
        return error_on_page(_page, error)
    headers = {"Content-Disposition": 'attachment; filename="raut-steps.zip"'}
    return Response(_zip(panels), mimetype="application/zip", headers=headers)


@blueprint.get("/stages.zip")
def download_nothing() -> ResponseReturnValue:
    """Lead to the page: without a photo there are no stages, and a form's address gets asked for.

    Switching the language, for one, leads back to where the form that was refused went.
    """
    return redirect(url_for("steps.page"))


def _page(**outcome: Any) -> str:
    analyzer = state().analyzer
    choice = model_selection.shown_choice()
    panels, sent = outcome.get("panels", []), model_selection.sent_form()
    models = model_selection.choose(choice) | analyzer.choose(analyzer.image_models)
    return render_template(
        "steps.html",
        strings=strings.STEPS_PAGE,
        choice=choice,
        tasks=[(name, formats.task(each.card.task)) for name, each in models.items()],
        model=sent.get("model", ""),
        faces={field: sent.get(field, "1") for field in FACES.values()},
        efforts=[(name, formats.effort(name)) for name in EFFORTS],
        effort=model_selection.effort_of(choice),
        detectors=[(name, formats.detector(name)) for name in DETECTORS],
        detector=choice.get(DETECTOR) or state().settings.detector,
        adjustable=ADJUSTABLE,
        settings={
            name: sent.get(name) or getattr(analyzer.detector.settings, name) for name in ADJUSTABLE
        },
        steps=[each for each in STEPS if any(each.id in panel.views for panel in panels)],
        **outcome,
    )


def _explain_uploads() -> list[Panel]:
    """Explain the form's photo, and the second one where there is one. Raises `RautError`."""
    with state().admission.photo():
        photos = {FIELD: read_upload()}
        if second := find_upload(SECOND):
            photos[SECOND] = second.stream.read()
        consume_quota(PHOTOS_PER_EXPLANATION * len(photos) - 1)  # One is counted for any request.
        return [_explain(field, data) for field, data in photos.items()]


def _explain(field: str, data: bytes) -> Panel:
    """Explain the model that the form names, or else the first that answers."""
    choice = model_selection.visitors_choice()
    model = request.form.get("model") or next(iter(model_selection.choose(choice)))
    reads_whole = model in of_region(state().analyzer.classifiers, "image")
    explanation = state().explainer.explain(
        data,
        model,
        face=max(0, int(_number(FACES[field], 1)) - 1),
        # A model of whole pictures answers where it is asked, and then alone.
        models=[model] if reads_whole else model_selection.model_names(choice),
        label_set=choice.get(LABELS),
        effort=model_selection.effort_of(choice),
        detector=choice.get(DETECTOR),
        adjustments={name: _number(name) for name in ADJUSTABLE if request.form.get(name)},
        budget=request_budget(),
    )
    name = request.files[field].filename or ""
    return Panel(field, name, explanation, step_views.view_stages(explanation))


def _number(field: str, default: float = 0) -> float:
    """Read a number of the form: a whole one where the detector counts. Raises `RautError`."""
    written = request.form.get(field) or str(default)
    try:
        number = float(written)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RautError("not_a_number", f"{field} must be a number.", name=field)
    return int(number) if number.is_integer() else number


def _zip(panels: list[Panel]) -> bytes:
    """Pack the pictures of every stage and the numbers, in memory."""
    stream = io.BytesIO()
    # The pictures are compressed already.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for panel in panels:
            for number, (step, view) in enumerate(panel.views.items(), start=1):
                for figure in view.all_figures():
                    name = f"{panel.field}/{number:02}-{step}-{figure.name}.{figure.picture.kind}"
                    archive.writestr(name, figure.picture.content)
            numbers = step_views.list_numbers(panel.explanation)
            archive.writestr(f"{panel.field}/numbers.json", json.dumps(numbers, indent=2))
    return stream.getvalue()
