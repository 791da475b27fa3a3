"""Answer refusals and faults: programs as problem+json (RFC 9457), a person's browser as a page."""

import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import (
    Flask,
    Response,
    current_app,
    g,
    has_app_context,
    json,
    render_template,
    request,
)
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, SecurityError

from app.errors import RautError
from app.web.i18n.formats import error_sentence
from app.web.server.metrics import REFUSALS

PROBLEM_TYPE = "application/problem+json"
PAGE_TYPE = "text/html"
# Nobody reads a page that a program, or a page's script, was answered with.
PROGRAMS_PATH = "/api/"
# The codes of what Flask and Werkzeug raise: part of the API, while Python's own names of the
# statuses change with its versions.
CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "media_type_unsupported",
    416: "range_unsatisfiable",
}
OTHER_REFUSAL = "refused"
# What isn't listed is a client's mistake: 400.
STATUSES = {code: status for status, code in CODES.items()} | {
    "token_missing": 401,
    "token_unknown": 401,
    "foreign_origin": 403,
    "request_slow": 408,
    "features_outdated": 409,
    "field_too_large": 413,
    "image_too_large": 413,
    "image_type": 415,
    "head_invalid": 422,
    "name_taken": 422,
    "image_dimensions": 422,
    "image_scans": 422,
    "image_unreadable": 422,
    "rate_limited": 429,
    "internal": 500,
    "sockets_unsupported": 501,
    "analysis_timeout": 503,
    "busy": 503,
    "cancelled": 503,
    "draining": 503,
    "inference_unavailable": 503,
    "overloaded": 503,
}


def init_errors(app: Flask) -> None:
    """Register the answers to every error and fault, and number the requests."""
    app.before_request(_number_request)
    app.after_request(_name_request)
    app.register_error_handler(RautError, error_response)
    app.register_error_handler(HTTPException, _http_error_response)
    app.register_error_handler(Exception, _internal_error_response)


def find_status(error: RautError) -> int:
    """Return the HTTP status of an error, by its code."""
    return STATUSES.get(error.code, HTTPStatus.BAD_REQUEST)


def list_headers(error: RautError) -> dict[str, str]:
    """Return the headers of an error: when to try again, or how to authenticate."""
    headers = {}
    if "retry_after" in error.extensions:
        headers["Retry-After"] = str(error.extensions["retry_after"])
    if find_status(error) == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def problem_details(error: RautError, status: int | None = None) -> dict[str, Any]:
    """Return an error's members as RFC 9457 names them, with the request's id where it has one.

    `status` is that of the error's code by default.
    """
    status = status or find_status(error)
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.detail,
        "code": error.code,
        **({"request_id": g.get("request_id")} if has_app_context() else {}),
        **error.extensions,
    }


def render_error(error: RautError) -> dict[str, str]:
    """Count an error, and return its code and the sentence for the page that shows it."""
    _count_error(error)
    return {"code": error.code, "sentence": error_sentence(error)}


def error_on_page(page: Callable[..., str], error: RautError) -> ResponseReturnValue:
    """Answer an error by a page that shows it as its `problem`."""
    return page(problem=render_error(error)), find_status(error), list_headers(error)


def error_response(error: RautError, status: int | None = None) -> Response:
    """Answer an error as a page or a problem document; `status` is its code's by default."""
    status = status or find_status(error)
    if _wants_html():
        page = render_template("error.html", status=status, **render_error(error))
        return Response(page, status, list_headers(error), content_type="text/html; charset=utf-8")
    _count_error(error)
    problem = json.dumps(problem_details(error, status))
    return Response(problem, status, list_headers(error), content_type=PROBLEM_TYPE)


def _count_error(error: RautError) -> None:
    REFUSALS.labels(error.code).inc()
    g.refusal_code = error.code


def _wants_html() -> bool:
    """Return whether a browser asked for a page; who takes anything gets the problem document."""
    try:
        request.host  # noqa: B018 - a page is full of addresses, which a host not trusted has none of
    except SecurityError:
        return False
    kinds = request.accept_mimetypes
    wanted = kinds.best_match([PROBLEM_TYPE, "application/json", PAGE_TYPE])
    return wanted == PAGE_TYPE and not request.path.startswith(PROGRAMS_PATH)


def _http_error_response(error: HTTPException) -> Response:
    """Answer what Flask itself refuses: unknown addresses, methods, malformed requests."""
    status = error.code or 500
    named = RautError(CODES.get(status, OTHER_REFUSAL), error.description or "")
    answer = error_response(named, status)
    if status == 405:
        answer.headers["Allow"] = error.get_response().headers.get("Allow", "")
    return answer


def _internal_error_response(error: Exception) -> Response:
    """Log our own fault under the request's id, and answer without internals."""
    current_app.logger.error(
        "request failed", extra={"request_id": g.get("request_id")}, exc_info=error
    )
    return error_response(
        RautError(
            "internal",
            "Something went wrong here, and it was logged under the request id. "
            "Your photo was not kept.",
        )
    )


def _number_request() -> None:
    g.request_id = uuid.uuid4().hex[:16]


def _name_request(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.get("request_id", "")
    return response
