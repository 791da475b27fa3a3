"""Declare the error that tells a person what was wrong with what they sent."""

from collections.abc import Iterable
from typing import Any


class RautError(Exception):
    """Refuse a request or a file for what was sent.

    `code` is stable and part of the API; `app.web.server.error_responses` maps it to an HTTP
    status. `detail` says what was wrong, with the limit or the choices, and what to do;
    `extensions` holds those limits as data for programs.
    """

    def __init__(self, code: str, detail: str, **extensions: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extensions = extensions


def unknown_choice(code: str, sentence: str, choices: Iterable[str]) -> RautError:
    """Refuse a name that is none of the choices; the sentence says which one it is."""
    names = list(choices)
    return RautError(code, f"{sentence} Choose from {', '.join(names)}.", choices=names)


def explain_missing(what: str, error: ImportError, extra: str = "archive") -> str:
    """Name a missing optional package and the command that installs it."""
    return (
        f"{what[0].upper()}{what[1:]} needs {error.name}, which is not installed here. "
        f"Install it with: python -m pip install -r requirements/{extra}.txt (or 'raut[{extra}]')"
    )
