"""The pages of the models: their cards, and the visitor's choice among them."""

import datetime
import json
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.errors import unknown_choice
from app.vision.models.cards import Card
from app.vision.models.classifiers import Classifier
from app.vision.pipeline import FaceAnalyzer, labels_of
from app.web.api import model_selection
from app.web.api.model_selection import COOKIE, LABELS, MODELS
from app.web.i18n.locale import keep_in_cookie
from app.web.pages import charts
from app.web.server.state import state

blueprint = Blueprint("models", __name__)


@blueprint.get("/models")
def page() -> str:
    """Show every loaded model, and which of them answer."""
    analyzer = state().analyzer
    answering = model_selection.choose(model_selection.shown_choice())
    return render_template(
        "models.html",
        classifiers=analyzer.classifiers,
        answering=answering,
        questions=_list_questions(analyzer, answering),
        headline=headline_figures,
        studies=state().studies,
    )


@blueprint.post("/models")
def keep_choice() -> Response:
    """Keep the visitor's choice in a cookie, or forget it."""
    response = redirect(url_for("models.page"), code=303)
    if "default" in request.form:
        response.delete_cookie(COOKIE)
        return response
    choice = _read_answers()
    model_selection.choose(choice)
    keep_in_cookie(response, COOKIE, urlencode(choice))
    return response


@blueprint.get("/models/<name>")
def card(name: str) -> str:
    """Show one model's card."""
    classifier = state().analyzer.classifiers.get(name)
    if classifier is None:
        abort(404, f"There is no model {name!r} here.")
    card, training = classifier.card, classifier.card.training
    figures = card.figures
    losses, accuracies = charts.learning_curves(figures.get("history", []))
    return render_template(
        "models/card.html",
        classifier=classifier,
        card=card,
        heads=_describe_heads(card),
        losses=charts.plot_lines(losses),
        accuracies=charts.plot_lines(accuracies),
        robustness=charts.group_changes(figures.get("robustness", []), grey=card.channels == 1),
        risks=charts.plot_lines(charts.risk_lines(figures.get("risk_coverage", {}))),
        trained_on=training.get("date") and datetime.date.fromisoformat(training["date"]),
        recipe=training.get("recipe")
        and json.dumps(training["recipe"], indent=2, ensure_ascii=False),
    )


def _list_questions(
    analyzer: FaceAnalyzer, answering: dict[str, Classifier]
) -> list[dict[str, Any]]:
    """List what can be chosen: for each task its models, and for each of those its labels.

    A question with a single possible answer is none, nor is one that is only answered when asked.
    """
    questions = []
    classifiers = analyzer.classifiers.values()
    for task in dict.fromkeys(each.card.task for each in analyzer.choose(None).values()):
        options = [
            {
                "value": f"{each.card.name}:{label}" if label else each.card.name,
                "model": each.card.name,
                "label": label,
                "head": each.card.heads[label or each.head_name],
                "figures": headline_figures(each, label),
                "chosen": each.card.name in answering
                and label in ("", answering[each.card.name].head_name),
            }
            for each in classifiers
            if each.card.task == task
            for label in (labels_of(each) or [""])
        ]
        if len(options) > 1:
            questions.append({"task": task, "options": options})
    return questions


def headline_figures(classifier: Classifier, label: str = "") -> dict[str, Any] | None:
    """Return the figures of the head that answers or is named, where the card has any."""
    figures: dict[str, Any] = classifier.card.figures.get("heads", {})
    return figures.get(label or classifier.head_name)


def _read_answers() -> model_selection.Choice:
    """Turn the form's answers into a choice; a task that isn't asked keeps its own model.

    Raises `RautError` for the model of another task.
    """
    analyzer = state().analyzer
    models, labels = [], ""
    asked = {field.removeprefix("task-"): value for field, value in request.form.items()}
    for name, classifier in analyzer.choose(None).items():
        task = classifier.card.task
        chosen, _, label = asked.get(task, name).partition(":")
        known = analyzer.classifiers
        # One that isn't loaded is refused with the whole choice.
        if chosen in known and known[chosen].card.task != task:
            choices = sorted(each.card.name for each in known.values() if each.card.task == task)
            sentence = f"The model {chosen!r} doesn't read {task}."
            raise unknown_choice("model_of_other_task", sentence, choices)
        models.append(chosen)
        labels = label or labels
    choice = {MODELS: ",".join(models), LABELS: labels}
    return {field: value for field, value in choice.items() if value}


def _describe_heads(card: Card) -> list[dict[str, Any]]:
    described = []
    for name, head in card.heads.items():
        figures = card.figures.get("heads", {}).get(name)
        classes = head.labels
        rows = charts.describe_classes(figures["confusion"], classes) if figures else []
        rows = [row for row in rows if row.recall.count]  # no picture is labelled as none of these
        described.append(
            {"name": name, "head": head, "classes": classes, "figures": figures, "rows": rows}
        )
    return described
