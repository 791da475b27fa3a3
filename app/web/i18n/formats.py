"""Write numbers, names and sentences in the reader's language, for templates and pages."""

import datetime
import re
from collections.abc import Callable, Mapping
from typing import Any

from babel.lists import format_list
from flask_babel import format_date, format_decimal, format_percent, get_locale, gettext
from flask_babel.speaklater import LazyString

from app.errors import RautError
from app.vision.models.cards import LocalizedText
from app.vision.models.weaknesses import MESSAGES, SHARES
from app.vision.readings import Prediction
from app.web.i18n.strings import (
    BELOW_LIMIT,
    CHANGES,
    DETECTORS,
    EFFORTS,
    ERRORS,
    GROUPS,
    KINDS,
    LABELS,
    REASONS,
    SETTINGS,
    TASKS,
)

# A probability is never shown as 0 % or 100 %: the networks are not that sure of anything.
SMALLEST_SHOWN = 0.01
PLACEHOLDER = re.compile(r"{(\w+)}")


def _name_in(table: Mapping[str, LazyString]) -> Callable[[str], str]:
    """Return a function that translates a name, and returns one unknown to the table unchanged."""
    return lambda name: str(table.get(name, name))


label, task, setting = _name_in(LABELS), _name_in(TASKS), _name_in(SETTINGS)
kind, change, group = _name_in(KINDS), _name_in(CHANGES), _name_in(GROUPS)
effort, detector = _name_in(EFFORTS), _name_in(DETECTORS)


def probability(value: float) -> str:
    """Return a probability as a whole percentage."""
    if value < SMALLEST_SHOWN:
        return "<" + format_percent(SMALLEST_SHOWN)
    if value > 1 - SMALLEST_SHOWN:
        return ">" + format_percent(1 - SMALLEST_SHOWN)
    return percent(value)


def share(value: float | None) -> str:
    """Return a share as a percentage with one decimal; None as a dash."""
    return "–" if value is None else str(format_percent(value, "#,##0.0%"))


def percent(value: float) -> str:
    """Return a share as a whole percentage."""
    return str(format_percent(value))


def number(value: float) -> str:
    """Return a number with its decimals, at most three."""
    return str(format_decimal(value))


def figure(value: float) -> str:
    """Return a number with at most four significant digits, as learning rates need.

    A whole number keeps all of its digits.
    """
    if float(value).is_integer() or abs(value) >= 1:
        return number(value)
    return str(format_decimal(value, "@###"))


def decimal(value: float, places: int = 0) -> str:
    """Return a number with a fixed number of decimal places."""
    return str(format_decimal(value, "#,##0" + ("." + "0" * places if places else "")))


def date(value: datetime.date) -> str:
    """Return a date in words."""
    return str(format_date(value, "long"))


def localized(text: LocalizedText) -> str:
    """Return a card's text in the reader's language."""
    return str(getattr(text, get_locale().language, text.en))


def weakness(found: Mapping[str, Any]) -> str:
    """Return the sentence of a weakness that a card names."""
    values = {name: _parameter(name, value) for name, value in found.items()}
    sentence = MESSAGES[found["code"]]
    return str(gettext(sentence, **values))


def why_unsure(read: Prediction | dict[str, Any]) -> str:
    """Return why a prediction is not confident: what hides the face, or what is missing."""
    prediction = Prediction.model_validate(read)  # of an answer's JSON, too
    if prediction.reason:
        return str(REASONS[prediction.reason])
    values = {
        "probability": probability(prediction.probability),
        "label": label(prediction.label),
        "limit": probability(prediction.threshold),
    }
    return PLACEHOLDER.sub(lambda match: values[match[1]], str(BELOW_LIMIT))


def _parameter(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return {"group": group, "kind": kind, "change": change}.get(name, label)(value)
    return percent(value) if name in SHARES else number(value)


def error_sentence(error: RautError) -> str:
    """Return the sentence for an error, or its own detail where one cannot be completed."""
    template = str(ERRORS.get(error.code, ""))
    if not template or not set(PLACEHOLDER.findall(template)) <= error.extensions.keys():
        return error.detail
    return PLACEHOLDER.sub(lambda match: _write(error.extensions[match[1]]), template)


def _write(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return format_list([str(item) for item in value], style="or", locale=get_locale())
    return number(value) if isinstance(value, (int, float)) else str(value)


FILTERS: dict[str, Callable[..., str]] = {
    each.__name__: each
    for each in (
        probability,
        share,
        percent,
        number,
        figure,
        decimal,
        date,
        localized,
        weakness,
        why_unsure,
    )
} | {
    "label": label,
    "task": task,
    "kind": kind,
    "change": change,
    "group": group,
    "setting": setting,
    "effort": effort,
}
