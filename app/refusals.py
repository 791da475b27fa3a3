"""Name what Raut refuses and why, in words for the person who sent it."""

from http import HTTPStatus
from typing import Any


class Refusal(Exception):  # noqa: N818 - what was sent is at fault, not the program
    """Refuse a request or a file because of what was sent, not because of a fault of ours.

    `code` is stable and part of the API; `status` the HTTP status; `detail` says what was
    wrong, with the limit or the choices, and what to do; `extensions` holds those limits as
    data for programs.
    """

    def __init__(self, code: str, status: int, detail: str, **extensions: Any) -> None:
        """Keep the refusal's parts; `detail` is also the exception's text."""
        super().__init__(detail)
        self.code = code
        self.status = status
        self.detail = detail
        self.extensions = extensions

    @property
    def headers(self) -> dict[str, str]:
        """Return what HTTP says of a refusal in headers: when to try again, or with what."""
        headers = {}
        if "retry_after" in self.extensions:
            headers["Retry-After"] = str(self.extensions["retry_after"])
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return headers
