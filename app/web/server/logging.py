"""Write a line of JSON for each request: when, what, how it ended, and how long it took.

Nothing of a photo, a file's name, a header, an answer or a client's address is in it.
"""

import logging
import time
import traceback
from collections.abc import Iterator
from typing import Any

from flask import Response, current_app, g, request

# For logging.config.dictConfig; gunicorn.conf.py writes the server's own lines so, too.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {
            "()": "pythonjsonlogger.json.JsonFormatter",
            "fmt": ["levelname", "name", "message"],
            "rename_fields": {"levelname": "level", "name": "logger"},
            "timestamp": "time",
        }
    },
    "filters": {"private": {"()": "app.web.server.logging.ExceptionMessageFilter"}},
    "handlers": {
        "lines": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["private"]}
    },
    "root": {"level": "WARNING", "handlers": ["lines"]},
    "loggers": {
        "raut": {"level": "INFO", "handlers": ["lines"], "propagate": False},
        "gunicorn.error": {"level": "INFO", "handlers": ["lines"], "propagate": False},
    },
}
# Asked for so often, and saying so little, that they would hide the others.
UNTOLD = frozenset({"static", "bootstrap.static", "health.healthz", "health.readyz"})


class ExceptionMessageFilter(logging.Filter):
    """Leave out the messages of exceptions, which may quote what a client sent.

    Their types and where they were raised stay. gunicorn's arbiter logs faults of the start.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it is always logged."""
        if record.module == "arbiter":
            return True
        if isinstance(record.args, tuple):
            record.args = tuple(
                type(each).__name__ if isinstance(each, BaseException) else each
                for each in record.args
            )
        if record.exc_info and record.exc_info[1]:
            record.exc_text = "\n".join(_trace(record.exc_info[1]))
            record.exc_info = None
        return True


def _trace(error: BaseException) -> Iterator[str]:
    """Yield where an exception was raised, and its type; its cause first."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause:
        yield from _trace(cause)
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"{frame.filename}:{frame.lineno} {frame.name}: {frame.line}"
    yield f"{type(error).__module__}.{type(error).__qualname__}"


def record_stages(timings_ms: dict[str, float]) -> None:
    """Keep how long a photo's stages took, for the request's line."""
    g.stages_ms = {stage: round(spent, 1) for stage, spent in timings_ms.items()}


def write_line(response: Response) -> Response:
    """Write the line of a request."""
    if request.endpoint not in UNTOLD or response.status_code >= 400:
        told = {
            "request_id": g.get("request_id"),
            "method": request.method,
            "route": request.url_rule.rule if request.url_rule else None,
            "status": response.status_code,
            "milliseconds": round((time.perf_counter() - g.begun) * 1000, 1)
            if "begun" in g
            else None,
            "code": g.get("refusal_code"),
            "stages_ms": g.get("stages_ms"),
        }
        present = {name: value for name, value in told.items() if value is not None}
        current_app.logger.info("request", extra=present)
    return response
