"""Write numbers, names and sentences in the reader's language, for templates and pages."""

import datetime
import functools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from babel.lists import format_list
from babel.numbers import get_decimal_symbol
from flask_babel import format_date, format_decimal, format_percent, get_locale, gettext
from flask_babel.speaklater import LazyString
from markupsafe import Markup, escape

from app.errors import RautError
from app.intervals import wilson_interval
from app.paths import DATA
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
    LEVELS,
    REASONS,
    SETTINGS,
    TASKS,
)

# A probability is never shown as 0 % or 100 %: the networks are not that sure of anything.
SMALLEST_SHOWN = 0.01
# A number that a study wrote, with its deviation or interval, or in seconds.
DECIMAL = re.compile(r"\d+\.\d+%?(?: ± \d+\.\d+)?(?: \(\d+\.\d+–\d+\.\d+%\))?|\d+ s")
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


def interval(found: Sequence[float], share: float, count: int) -> Sequence[float]:
    """Return a share's interval; Wilson's where resampling found none, as all answers are alike."""
    return wilson_interval(round(share * count), count) if found[0] == found[1] else found


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
    """Return a number with a fixed number of decimal places, and no minus before a zero."""
    return str(
        format_decimal(round(value, places) + 0.0, "#,##0" + ("." + "0" * places if places else ""))
    )


def date(value: datetime.date) -> str:
    """Return a date in words."""
    return str(format_date(value, "long"))


def localized(text: LocalizedText) -> str:
    """Return a card's text in the reader's language."""
    return str(getattr(text, get_locale().language, text.en))


def add_labels(labels: Mapping[str, LocalizedText]) -> None:
    """Add the words of classes that a served card brings; those of the catalogue stay."""
    for name, words in labels.items():
        LABELS.setdefault(name, LazyString(localized, words))


@functools.cache
def _read_texts(language: str) -> dict[str, str]:
    """Return a language's translations of texts that cards and studies hold in English alone."""
    file = DATA / "translations" / language / "texts.json"
    texts: dict[str, str] = json.loads(file.read_text("utf-8")) if file.exists() else {}
    return texts


def data_string(text: str) -> str:
    """Return a text of a card or a study in the reader's language, or else in English."""
    if DECIMAL.fullmatch(text):
        locale = get_locale()
        localised = text.replace(".", get_decimal_symbol(locale))
        return localised.replace("s", _read_texts(locale.language).get("s", "s"))
    return _read_texts(get_locale().language).get(text, text)


def data_text(text: str) -> Markup:
    """Return what `data_string` does, marked as English where it is not translated."""
    language, string = get_locale().language, data_string(text)
    sentence = " " in text and not DECIMAL.fullmatch(text)  # not a name or a number
    known = language == "en" or text in _read_texts(language) or not sentence
    return escape(string) if known else Markup('<span lang="en">{}</span>').format(string)


def level(row: Mapping[str, Any]) -> str:
    """Return how far a picture was changed, with its unit."""
    return PLACEHOLDER.sub(number(row["level"]), str(LEVELS.get(row["change"], "{level}")))


def weakness(found: Mapping[str, Any]) -> str:
    """Return the sentence of a weakness that a card names."""
    values = {name: _parameter(name, value) for name, value in found.items()}
    if found["code"] == "not_robust":
        return str(
            gettext(
                "%(accuracy)s are right instead of %(overall)s: %(change)s, %(level)s.",
                **values | {"level": level(found)},
            )
        )
    sentence = MESSAGES[found["code"]]
    return str(gettext(sentence, **values))


def why_unsure(prediction: Prediction) -> str:
    """Return why a prediction is not confident: what hides the face, or what is missing.

    Empty for a camera's prediction that has just reached its limit.
    """
    if prediction.reason:
        return str(REASONS[prediction.reason])
    found, limit = prediction.probability, prediction.threshold
    if found >= limit:
        return ""
    values = {"label": label(prediction.label)}
    values |= {"probability": probability(found), "limit": probability(limit)}
    if values["probability"] == values["limit"]:  # as whole percentages
        low, high = math.floor(1000 * found), math.ceil(1000 * limit)
        values |= {"probability": share(low / 1000), "limit": share(high / 1000)}
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


FILTERS: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        *(probability, share, percent, number, figure, decimal, date),
        *(localized, data_text, level, weakness, why_unsure, interval),
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
