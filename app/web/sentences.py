"""Every sentence that the browser's script and the server's templates both need, written once."""

import re
from collections.abc import Mapping
from typing import Any

from babel.lists import format_list
from flask_babel import format_decimal, format_percent, get_locale, gettext, ngettext

# A probability is never shown as 0 % or 100 %: the networks are not that sure of anything.
SMALLEST_SHOWN = 0.01
PLACEHOLDER = re.compile(r"{(\w+)}")


def labels() -> dict[str, str]:
    """Return the classes' names in the reader's language."""
    return {
        "angry": gettext("angry"),
        "disgust": gettext("disgust"),
        "fear": gettext("fear"),
        "happy": gettext("happy"),
        "sad": gettext("sad"),
        "surprise": gettext("surprise"),
        "neutral": gettext("neutral"),
        "female": gettext("female"),
        "male": gettext("male"),
    }


def label(name: str) -> str:
    """Return one class's name, or the model's own word for a class unknown here."""
    return labels().get(name, name)


def probability(value: float) -> str:
    """Write a probability as a whole percentage in the reader's language."""
    if value < SMALLEST_SHOWN:
        return "<" + format_percent(SMALLEST_SHOWN)
    if value > 1 - SMALLEST_SHOWN:
        return ">" + format_percent(1 - SMALLEST_SHOWN)
    return str(format_percent(value))


def refusals() -> dict[str, str]:
    """Return what to tell the reader for each code, with places for the refusal's own figures."""
    return {
        "image_missing": gettext(
            "No photo arrived. Choose a JPEG, PNG or WebP photo and send it again."
        ),
        "image_empty": gettext(
            "This file is empty. If the photo was still being copied or downloaded, "
            "wait until that is done and choose it again."
        ),
        "image_unreadable": gettext(
            "This file could not be opened as a picture; it may be damaged or cut short. "
            "Save it again as JPEG or PNG and try that copy."
        ),
        "image_too_large": gettext(
            "This file is larger than {limit_mb} MB, the most that this server takes. "
            "Save a smaller copy of the photo and try that one."
        ),
        "image_dimensions": gettext(
            "This photo is too small or too large to read. Each side must have at least "
            "{minimum_side} pixels, and the whole photo at most {limit_megapixels} megapixels. "
            "Resize it and try again."
        ),
        "image_type": gettext(
            "This kind of file is not read here. Save the photo as {accepted} and try again."
        ),
        "unknown_model": gettext(
            "This server has no model of that name. It has {choices}. "
            "Reload the page and try again."
        ),
        "unknown_effort": gettext(
            "This server knows no such effort. It knows {choices}. Reload the page and try again."
        ),
        "rate_limited": gettext(
            "Too many photos came from your address in a short time. Wait a minute and try again."
        ),
        "overloaded": gettext(
            "The server is busy with other photos. Wait a few seconds and try again."
        ),
        "internal": gettext(
            "Something failed on the server while it read this photo. Try again; "
            "if it keeps failing, tell the person who runs this server."
        ),
        "network": gettext("The server could not be reached. Check your connection and try again."),
    }


def refusal(code: str, detail: str, extensions: Mapping[str, Any]) -> str:
    """Return the sentence for a refusal, or its own detail where a sentence cannot be completed."""
    template = refusals().get(code)
    if template is None or not set(PLACEHOLDER.findall(template)) <= extensions.keys():
        return detail
    return PLACEHOLDER.sub(lambda place: written(extensions[place[1]]), template)


def written(value: Any) -> str:
    """Write a refusal's figure or list as the reader's language does."""
    if isinstance(value, (list, tuple)):
        return format_list([str(item) for item in value], style="or", locale=get_locale())
    if isinstance(value, (int, float)):
        return str(format_decimal(value))
    return str(value)


def for_script() -> dict[str, Any]:
    """Return every sentence and word that the page's script shows."""
    return {
        "labels": labels(),
        "refusals": refusals(),
        "found": {
            "one": ngettext("{count} face found", "{count} faces found", 1),
            "other": ngettext("{count} face found", "{count} faces found", 2),
        },
        "no_face": gettext("No face found"),
        "no_face_help": gettext(
            "What helps: come closer, find more light, keep the head upright and face the camera."
        ),
        "no_answer": gettext("No answer for this photo"),
        "reading": gettext("Reading the photo…"),
        "cancelled": gettext("Cancelled. Choose another photo when you like."),
        "unsure": gettext("unsure"),
        "why_unsure": gettext(
            "Nothing stands out enough to name. Nearest: {first} {first_probability}, "
            "then {second} {second_probability}."
        ),
        "face": gettext("Face {number}"),
        "box_name": gettext("Face {number}: {expression}"),
        "expression": gettext("Expression shown"),
        "gender": gettext("Perceived gender"),
        "score": gettext("Face score {score} · {width} × {height} pixels"),
        "photo_of": gettext("Your photo, {name}"),
        "photo_not_shown": gettext("Your browser cannot show this photo; the readings still hold."),
        "nothing_to_paste": gettext("There is no picture on the clipboard."),
        "nothing_to_drop": gettext(
            "What you dropped is not a file. Drop a photo from your device."
        ),
        "first_of_several": gettext("Raut reads one photo at a time; the first one was taken."),
        "snapshot": gettext("snapshot"),
        "pasted": gettext("pasted photo"),
        "steps": {
            "decode": gettext("Opening the photo"),
            "detect": gettext("Finding faces"),
            "detect_first": gettext("of it, the first look"),
            "detect_second": gettext("of it, further looks"),
            "classify": gettext("Reading faces"),
            "total": gettext("In all"),
        },
        "camera": {
            "opening": gettext("Opening the camera…"),
            "ready": gettext("The camera is on. Nothing is sent until you take the photo."),
            "insecure": gettext(
                "The browser gives a camera only to pages over HTTPS or on this same computer. "
                "Open Raut that way, or choose a photo instead."
            ),
            "unsupported": gettext(
                "This browser offers no camera to web pages. Choose a photo instead."
            ),
            "denied": gettext(
                "The browser did not allow the camera. Allow it in the site's settings and try "
                "again, or choose a photo instead."
            ),
            "missing": gettext("No camera was found on this device. Choose a photo instead."),
            "busy": gettext(
                "The camera could not be opened; another program may be using it. "
                "Close that program and try again."
            ),
        },
    }
