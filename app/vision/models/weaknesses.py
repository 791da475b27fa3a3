"""Word the weaknesses that a card names: each is a code with parameters, {"code": ..., ...}."""

from collections.abc import Mapping
from typing import Any

N_ = str  # marks a message for the catalogue of translations

MESSAGES = {
    "low_recall_faces": N_("Of %(label)s faces only %(recall)s are found."),
    "low_recall_images": N_("Of %(label)s pictures only %(recall)s are found."),
    "weak_group": N_(
        "%(accuracy)s of the answers are right for the group “%(group)s” (%(count)s faces), "
        "%(overall)s for all."
    ),
    "weak_gender_on_photos": N_(
        "On whole photos %(accuracy)s of the answers are right for the gender label “%(label)s” "
        "(%(count)s photos), %(overall)s for all."
    ),
    "out_of_distribution": N_(
        "Of pictures of %(kind)s only %(refused)s are answered by “none of these”."
    ),
    "hidden_answered": N_("Of faces (%(kind)s) only %(unanswered)s are left unanswered."),
    "not_robust": N_(
        "With %(change)s at level %(level)s, %(accuracy)s are right instead of %(overall)s."
    ),
}
# The parameters from 0 to 1.
SHARES = frozenset({"accuracy", "overall", "recall", "refused", "unanswered"})


def weakness_in_english(weakness: Mapping[str, Any]) -> str:
    """Return the English sentence of a weakness."""
    return MESSAGES[weakness["code"]] % {
        name: _write(name, value) for name, value in weakness.items()
    }


def _write(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0%}" if name in SHARES else f"{value:g}"
