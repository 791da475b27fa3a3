"""Answer refusals and faults: programs as problem+json (RFC 9457), a person's browser as a page."""

import uuid
from http import HTTPStatus
from typing import Any

from flask import (
    Flask,
    Response,
    current_app,
    g,
    has_app_context,
    json,
    make_response,
    render_template,
    request,
)
from werkzeug.exceptions import HTTPException, SecurityError

from app.errors import RautError
from app.web.i18n import strings
from app.web.server.metrics import REFUSALS

PROBLEM_TYPE = "application/problem+json"
PAGE_TYPE = "text/html"
# Nobody reads a page that a program, or a page's script, was answered with.
PROGRAMS_PATH = "/api/"
# Codes are part of the API; Python's own names of the statuses change with its versions.
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
STATUSES = {
    "token_missing": 401,
    "token_unknown": 401,
    "foreign_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_slow": 408,
    "request_too_large": 413,
    "field_too_large": 413,
    "image_too_large": 413,
    "image_type": 415,
    "media_type_unsupported": 415,
    "range_unsatisfiable": 416,
    "image_dimensions": 422,
    "image_unreadable": 422,
    "rate_limited": 429,
    "internal": 500,
    "sockets_unsupported": 501,
    "busy": 503,
    "draining": 503,
    "inference_unavailable": 503,
    "overloaded": 503,
}


def init_errors(app: Flask) -> None:
    """Register the answers to every refusal and fault, and number the requests."""
    app.before_request(_number_request)
    app.after_request(_name_request)
    app.register_error_handler(RautError, answer_refusal)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_fault)


def find_status(refusal: RautError) -> int:
    """Return the HTTP status of an error, by its code."""
    return STATUSES.get(refusal.code, HTTPStatus.BAD_REQUEST)


def list_headers(refusal: RautError) -> dict[str, str]:
    """Return the headers of an error: when to try again, or how to authenticate."""
    headers = {}
    if "retry_after" in refusal.extensions:
        headers["Retry-After"] = str(refusal.extensions["retry_after"])
    if find_status(refusal) == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def describe_refusal(refusal: RautError) -> dict[str, Any]:
    """Return a refusal's members as RFC 9457 names them, with the request's id where it has one."""
    status = find_status(refusal)
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": refusal.detail,
        "code": refusal.code,
        **({"request_id": g.get("request_id")} if has_app_context() else {}),
        **refusal.extensions,
    }


def render_error(refusal: RautError) -> dict[str, str]:
    """Count a refusal, and return its code and the sentence for the page that shows it."""
    _note_refusal(refusal)
    sentence = strings.refusal(refusal.code, refusal.detail, refusal.extensions)
    return {"code": refusal.code, "sentence": sentence}


def answer_refusal(refusal: RautError) -> Response:
    """Answer a refusal as whoever asked can read it."""
    if _is_for_a_person():
        return _show_refusal(refusal)
    _note_refusal(refusal)
    problem = json.dumps(describe_refusal(refusal))
    return Response(problem, find_status(refusal), list_headers(refusal), content_type=PROBLEM_TYPE)


def _note_refusal(refusal: RautError) -> None:
    """Count a refusal, and keep its code for the request's line in the log."""
    REFUSALS.labels(refusal.code).inc()
    g.refusal_code = refusal.code


def _is_for_a_person() -> bool:
    """Tell whether a browser asked for a page; who takes anything gets the problem document."""
    try:
        request.host  # noqa: B018 - a page is full of addresses, which a host not trusted has none of
    except SecurityError:
        return False
    kinds = request.accept_mimetypes
    wanted = kinds.best_match([PROBLEM_TYPE, "application/json", PAGE_TYPE])
    return wanted == PAGE_TYPE and not request.path.startswith(PROGRAMS_PATH)


def _show_refusal(refusal: RautError) -> Response:
    """Answer a refusal as a page."""
    status = find_status(refusal)
    page = render_template("error.html", status=status, **render_error(refusal))
    return make_response(page, status, list_headers(refusal))


def _answer_http(error: HTTPException) -> Response:
    """Answer what Flask itself refuses: unknown addresses, methods, malformed requests."""
    status = error.code or 500
    answer = answer_refusal(RautError(CODES.get(status, OTHER_REFUSAL), error.description or ""))
    if status == 405:
        answer.headers["Allow"] = error.get_response().headers.get("Allow", "")
    return answer


def _answer_fault(error: Exception) -> Response:
    """Log our own fault under the request's id, and answer without internals."""
    current_app.logger.error(
        "request failed", extra={"request_id": g.get("request_id")}, exc_info=error
    )
    return answer_refusal(
        RautError(
            "internal",
            "Something went wrong here, and it was logged under the request id. "
            "Your photo was not kept.",
        )
    )


def _number_request() -> None:
    """Give the request an id that joins an answer with the log."""
    g.request_id = uuid.uuid4().hex[:16]


def _name_request(response: Response) -> Response:
    """Tell the client its request's id."""
    response.headers["X-Request-ID"] = g.get("request_id", "")
    return response
