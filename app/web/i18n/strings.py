"""Every sentence that the browser's script and the server's templates both need, written once."""

import datetime
import re
from collections.abc import Mapping
from typing import Any

from babel.lists import format_list
from flask_babel import (
    format_date,
    format_decimal,
    format_percent,
    get_locale,
    gettext,
    lazy_gettext,
    ngettext,
)

from app.vision.models.cards import NONE_OF_THESE, LocalizedText

# A probability is never shown as 0 % or 100 %: the networks are not that sure of anything.
SMALLEST_SHOWN = 0.01
PLACEHOLDER = re.compile(r"{(\w+)}")


LABELS = {
    "angry": lazy_gettext("angry"),
    "disgust": lazy_gettext("disgust"),
    "fear": lazy_gettext("fear"),
    "happy": lazy_gettext("happy"),
    "sad": lazy_gettext("sad"),
    "surprise": lazy_gettext("surprise"),
    "neutral": lazy_gettext("neutral"),
    "contempt": lazy_gettext("contempt"),
    "female": lazy_gettext("female"),
    "male": lazy_gettext("male"),
    "child": lazy_gettext("child"),
    "older": lazy_gettext("older"),
    "dress": lazy_gettext("dress"),
    "hat": lazy_gettext("hat"),
    "longsleeve": lazy_gettext("long-sleeved top"),
    "outwear": lazy_gettext("outerwear"),
    "pants": lazy_gettext("trousers"),
    "shirt": lazy_gettext("shirt"),
    "shoes": lazy_gettext("shoes"),
    "shorts": lazy_gettext("shorts"),
    "skirt": lazy_gettext("skirt"),
    "t-shirt": lazy_gettext("T-shirt"),
    NONE_OF_THESE: lazy_gettext("none of these"),
}


def _rendered(table: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(text) for name, text in table.items()}


def label(name: str) -> str:
    """Return one class's name, or the model's own word for a class unknown here."""
    return str(LABELS.get(name, name))


def probability(value: float) -> str:
    """Write a probability as a whole percentage in the reader's language."""
    if value < SMALLEST_SHOWN:
        return "<" + format_percent(SMALLEST_SHOWN)
    if value > 1 - SMALLEST_SHOWN:
        return ">" + format_percent(1 - SMALLEST_SHOWN)
    return str(format_percent(value))


def share(value: float | None) -> str:
    """Write a share as a percentage with one decimal in the reader's language; None as a dash."""
    return "–" if value is None else str(format_percent(value, "#,##0.0%"))


def percent(value: float) -> str:
    """Write a share as a whole percentage in the reader's language."""
    return str(format_percent(value))


def number(value: float) -> str:
    """Write a number with as many decimals as it has, at most three, in the reader's language."""
    return str(format_decimal(value))


def figure(value: float) -> str:
    """Write a number with at most four significant digits after its zeros, as learning rates need.

    A whole number keeps all of its digits.
    """
    if float(value).is_integer() or abs(value) >= 1:
        return number(value)
    return str(format_decimal(value, "@###"))


def decimal(value: float, places: int = 0) -> str:
    """Write a number with so many decimal places in the reader's language."""
    pattern = "#,##0" + ("." + "0" * places if places else "")
    return str(format_decimal(value, pattern))


def date(value: datetime.date) -> str:
    """Write a date in the reader's language."""
    return str(format_date(value, "long"))


TASKS = {
    "expression": lazy_gettext("Expression shown"),
    "gender": lazy_gettext("Perceived gender"),
    "face": lazy_gettext("Face or not"),
    "clothing": lazy_gettext("Clothing"),
}


def task(name: str) -> str:
    """Return one task's name, or the model's own word for a task unknown here."""
    return str(TASKS.get(name, name))


KINDS = {
    "clothing": lazy_gettext("clothes"),
    "faces": lazy_gettext("faces"),
    "animals": lazy_gettext("animals"),
    "things": lazy_gettext("things"),
    "manuals": lazy_gettext("a manual's photos, pages and drawings"),
    "portraits": lazy_gettext("portraits"),
    "backgrounds": lazy_gettext("backgrounds of photos"),
    "patterns": lazy_gettext("fur, grass and sky"),
    "puzzles": lazy_gettext("clothes cut up and shuffled"),
    "scenes": lazy_gettext("scikit-image's pictures"),
}


def kind(name: str) -> str:
    """Return one kind of pictures' name, or the model's own word for a kind unknown here."""
    return str(KINDS.get(name, name))


DETECTOR_SETTINGS = {
    "working_side": lazy_gettext("Side of the searched copy, in pixels"),
    "most_proposals": lazy_gettext("Places asked about at most"),
    "promising": lazy_gettext("Score worth a second question"),
    "accepted": lazy_gettext("Score of a face"),
    "accepted_more_passes": lazy_gettext("Score of a face in a second look"),
}


def setting(name: str) -> str:
    """Return one setting's name, or the setting's own word for one unknown here."""
    return str(DETECTOR_SETTINGS.get(name, name))


EFFORTS = {
    "fast": lazy_gettext("Fast: one look"),
    "balanced": lazy_gettext("Balanced: again where no face was found"),
    "thorough": lazy_gettext("Thorough: all turns and sizes"),
}


def effort(name: str) -> str:
    """Return what an effort of the search means in the reader's language."""
    return str(EFFORTS[name])


def localized(text: LocalizedText) -> str:
    """Return a card's text in the reader's language."""
    return str(getattr(text, get_locale().language, text.en))


def refusals() -> dict[str, str]:
    """Return what to tell the reader for each code, with places for the error's own figures."""
    return {
        "image_missing": gettext(
            "No photo arrived. Choose a JPEG, PNG or WebP photo and send it again."
        ),
        "image_empty": gettext(
            "This file is empty. If the photo was still being copied or downloaded, "
            "wait until that is done and choose it again."
        ),
        "frame_empty": gettext("The camera's picture came empty; the next one is tried."),
        "image_unreadable": gettext(
            "This file could not be opened as a picture; it may be damaged or cut short. "
            "Save it again as JPEG or PNG and try that copy."
        ),
        "image_too_large": gettext(
            "What you sent is larger than {limit_mb} MB, the most that this server takes at once. "
            "Save a smaller copy of the photo and try that one."
        ),
        "request_slow": gettext(
            "The photo came in too slowly and was not read. Try a better connection, or save a "
            "smaller copy of the photo and try that one."
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
        "unknown_labels": gettext(
            "This server has no expression labels of that name. It has {choices}. "
            "Reload the page and try again."
        ),
        "no_face_model": gettext(
            "A live stream reads faces, and the models that were asked for do not. "
            "Choose one of {choices}."
        ),
        "models_of_one_task": gettext(
            "Only one model at a time can answer one question. Choose one of {choices}."
        ),
        "model_of_other_task": gettext(
            "That model answers another question. Choose one of {choices}."
        ),
        "detector_setting": gettext(
            "The setting {name} must lie between {low} and {high}. Change it and try again."
        ),
        "not_a_whole_number": gettext(
            "The field {name} must be a whole number. Change it and try again."
        ),
        "not_a_number": gettext("The field {name} must hold a number. Change it and try again."),
        "unknown_effort": gettext(
            "This server knows no such effort. It knows {choices}. Reload the page and try again."
        ),
        "rate_limited": gettext(
            "Too many photos came from your address in a short time. Wait a minute and try again."
        ),
        "token_missing": gettext(
            "This server reads photos only for those who hold a token. Reload the page to enter "
            "yours."
        ),
        "token_unknown": gettext("This server doesn't know that token. Check it and try again."),
        "foreign_origin": gettext(
            "That came from another site's page, and was not read. Use Raut's own pages, at the "
            "server's own address."
        ),
        "not_found": gettext("There is nothing at this address. It may have been mistyped."),
        "method_not_allowed": gettext(
            "This address is not for opening: a form sends to it. Go back and start again."
        ),
        "bad_request": gettext("The server could not understand what this browser sent."),
        "busy": gettext("The server is busy with other photos. Wait a few seconds and try again."),
        "inference_unavailable": gettext(
            "The machine that computes the readings for this server does not answer at the "
            "moment. Wait a few seconds and try again; the live page goes on by itself."
        ),
        "internal": gettext(
            "Something failed on the server while it read this photo. Try again; "
            "if it keeps failing, tell the person who runs this server."
        ),
        "network": gettext("The server could not be reached. Check your connection and try again."),
    }


def refusal(code: str, detail: str, extensions: Mapping[str, Any]) -> str:
    """Return the sentence for a error, or its own detail where a sentence cannot be completed."""
    template = refusals().get(code)
    if template is None or not set(PLACEHOLDER.findall(template)) <= extensions.keys():
        return detail
    return PLACEHOLDER.sub(lambda place: written(extensions[place[1]]), template)


def written(value: Any) -> str:
    """Write a error's figure or list as the reader's language does."""
    if isinstance(value, (list, tuple)):
        return format_list([str(item) for item in value], style="or", locale=get_locale())
    if isinstance(value, (int, float)):
        return str(format_decimal(value))
    return str(value)


def for_script() -> dict[str, Any]:
    """Return every sentence and word that the page's script shows."""
    return {
        "labels": _rendered(LABELS),
        "refusals": refusals(),
        "found": {
            "one": ngettext("{count} face found", "{count} faces found", 1),
            "other": ngettext("{count} face found", "{count} faces found", 2),
        },
        "tasks": _rendered(TASKS),
        "no_garment": gettext("None of these kinds of clothes"),
        "no_garment_help": gettext(
            "Nothing here looks enough like one of the kinds of clothes that Raut knows. What "
            "helps: one garment that fills the picture, in good light."
        ),
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
            "detect_first_pass": gettext("of it, the first look"),
            "detect_more_passes": gettext("of it, further looks"),
            "classify": gettext("Reading"),
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


def for_realtime() -> dict[str, Any]:
    """Return every sentence and word that the live page's script shows."""
    return {
        "labels": _rendered(LABELS),
        "refusals": refusals(),
        "no_face": gettext("No face found"),
        "unsure": gettext("unsure"),
        "face": gettext("Face {number}"),
        "box_name": gettext("Face {number}: {expression}"),
        "gender": gettext("Perceived gender"),
        "milliseconds": gettext("{count} ms"),
        "seconds": gettext("{count} s"),
        "camera_number": gettext("Camera {number}"),
        "states": {
            "live": gettext("LIVE"),
            "paused": gettext("PAUSED"),
            "stopped": gettext("STOPPED"),
        },
        "pause": gettext("Pause"),
        "resume": gettext("Go on"),
        "start_recording": gettext("Start recording"),
        "stop_recording": gettext("Stop recording"),
        "recorded": gettext("{count} readings"),
        "timeline": {
            "percent": gettext("{count}%"),
            "ago": gettext("{count} s ago"),
            "now": gettext("now"),
            "empty": gettext("No readings of this face in the last minute."),
            "summary": gettext(
                "Face {number} in the last minute: mostly {expression}, {share} of the frames."
            ),
        },
        "said": {
            "connecting": gettext("Connecting to the server…"),
            "live": gettext("Live. Each frame is read and dropped."),
            "paused": gettext("Paused. The camera is on, and nothing is sent."),
            "left": gettext("Paused, because you left this tab. Nothing is sent until you go on."),
            "stopped": gettext("Stopped. The camera is released."),
            "waiting": gettext("Trying again in {seconds} s."),
            "photos": gettext(
                "Live connections are blocked on the way to this server. Frames go one by one "
                "as photos instead: slower, and not smoothed."
            ),
            "no_full_screen": gettext("This browser does not let a page fill the screen."),
        },
        "closed": {
            "lost": gettext("The connection to the server was lost."),
            "server_stops": gettext("The server is restarting."),
            "silent": gettext("The server closed a connection that was silent for too long."),
            "too_many_streams": gettext("All live places on this server are taken."),
            "message_too_large": gettext(
                "The server takes frames of at most 2 MB; this camera's are larger."
            ),
            "foreign_origin": gettext(
                "The server takes live frames only from its own pages. "
                "Open this page at the server's own address."
            ),
            "too_many_faults": gettext("The server could not read this camera's frames."),
            "rate_limited": gettext("Too much came from your address in a short time."),
            "token_missing": gettext(
                "This server reads photos only for those who hold a token. Reload the page to "
                "enter yours."
            ),
            "token_unknown": gettext("This server doesn't know that token any more."),
            "protocol_error": gettext(
                "Something between this browser and the server garbled the connection."
            ),
        },
        "camera": {
            "opening": gettext("Opening the camera…"),
            "insecure": gettext(
                "The browser gives a camera only to pages over HTTPS or on this same computer. "
                "Open Raut that way."
            ),
            "unsupported": gettext("This browser offers no camera to web pages."),
            "denied": gettext(
                "The browser did not allow the camera. Allow it in the site's settings and start "
                "again."
            ),
            "missing": gettext("No camera was found on this device."),
            "busy": gettext(
                "The camera could not be opened; another program may be using it. "
                "Close that program and start again."
            ),
            "gone": gettext("The camera went away: it was unplugged or taken back."),
        },
    }


def for_steps() -> dict[str, Any]:
    """Return every sentence that the steps page's script shows."""
    return {
        "refusals": refusals(),
        "labels": _rendered(LABELS),
        "working": gettext("Taking the photo through every step…"),
        "done": gettext("Every step is shown. The arrow keys go from one to the next."),
        "channel": gettext("Channel {number} of {count}"),
    }
