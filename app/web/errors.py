"""Answer refusals and faults as problem+json (RFC 9457)."""

import uuid
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, has_app_context, json
from werkzeug.exceptions import HTTPException

from app.refusals import Refusal
from app.web.metrics import REFUSALS

PROBLEM_TYPE = "application/problem+json"
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


def init_errors(app: Flask) -> None:
    """Register the answers to every refusal and fault, and number the requests."""
    app.before_request(_number_request)
    app.after_request(_name_request)
    app.register_error_handler(Refusal, answer_refusal)
    app.register_error_handler(HTTPException, _answer_http)
    app.register_error_handler(Exception, _answer_fault)


def describe_refusal(refusal: Refusal) -> dict[str, Any]:
    """Return a refusal's members as RFC 9457 names them, with the request's id where it has one."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        **({"request_id": g.get("request_id")} if has_app_context() else {}),
        **refusal.extensions,
    }


def answer_refusal(refusal: Refusal) -> Response:
    """Answer a refusal as problem+json, and count it."""
    REFUSALS.labels(refusal.code).inc()
    problem = json.dumps(describe_refusal(refusal))
    return Response(problem, refusal.status, refusal.headers, content_type=PROBLEM_TYPE)


def _answer_http(error: HTTPException) -> Response:
    """Answer what Flask itself refuses: unknown addresses, methods, malformed requests."""
    status = error.code or 500
    refusal = Refusal(CODES.get(status, OTHER_REFUSAL), status, error.description or "")
    answer = answer_refusal(refusal)
    if status == 405:
        answer.headers["Allow"] = error.get_response().headers.get("Allow", "")
    return answer


def _answer_fault(error: Exception) -> Response:
    """Log our own fault under the request's id, and answer without internals."""
    current_app.logger.error("request %s failed", g.get("request_id"), exc_info=error)
    return answer_refusal(
        Refusal(
            "internal",
            500,
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
