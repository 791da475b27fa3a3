"""Read a camera's frames over a WebSocket: `WS /api/v1/stream`. docs/stream.md describes it.

A client sends one JPEG as a binary message and waits for the answer. Of frames that it sends
ahead only the newest is read, so that nothing ever queues and the delay stays bounded.
"""

from __future__ import annotations

import time
from contextlib import closing, suppress
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, json, request
from flask.typing import ResponseReturnValue
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.errors import RautError
from app.vision.live import LiveReader
from app.vision.tracking import MOST_SMOOTHING_SECONDS
from app.web.api.model_selection import LABELS, MODELS, Choice, model_names, named_choice
from app.web.api.websocket import GOING_AWAY, POLICY, TRY_LATER, Socket, SocketClosed
from app.web.server.admission import AdmissionQueue
from app.web.server.auth import authenticate
from app.web.server.error_responses import find_status, problem_details
from app.web.server.metrics import FRAMES, OPEN_STREAMS, REFUSALS, count_stages
from app.web.server.rate_limit import consume_quota
from app.web.server.readiness import Readiness
from app.web.server.security import refuse_foreign
from app.web.server.state import state

MOST_MESSAGE_BYTES = 2_000_000  # A frame of 640 by 480 at the best quality has a tenth of it.
SILENCE_SECONDS = 30.0
MOST_FAULTS = 10  # Messages refused in a row; a client that goes on sends nothing of use.
# How soon an idle socket notices that its worker ends.
TICK_SECONDS = 1.0
# Messages taken in one go: a client that sends faster than we read must not keep us reading.
MOST_WAITING = 100

# What the handshake is made of; of the others, some would not pass the protocol's own parser.
HANDSHAKE_HEADERS = {
    "host",
    "connection",
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
}

blueprint = Blueprint("stream", __name__, url_prefix="/api/v1")


class StreamSettings(BaseModel):
    """Hold what a client may set for its own stream.

    `models` and `label_set` are as the API's form has them, by default the server's own
    choice.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    smoothing_seconds: float = Field(ge=0, le=MOST_SMOOTHING_SECONDS)
    models: str | None = None
    label_set: str | None = None

    @property
    def choice(self) -> Choice:
        """Return the choice of models."""
        return named_choice(self.model_dump(include={MODELS, LABELS}))


@blueprint.route("/stream", websocket=True)
def stream() -> ResponseReturnValue:
    """Answer a camera's frames until either side has had enough.

    A server that leaves refuses before the handshake, so that a proxy can ask another one.
    """
    shared = state()
    shared.readiness.check_running()
    socket = _accept()
    # A client that left, or was told why, is no fault.
    with closing(socket), shared.stream_slots.hold() as free, suppress(SocketClosed):
        if error := _handshake_error():
            REFUSALS.labels(error.code).inc()
            socket.close(
                TRY_LATER if find_status(error) == HTTPStatus.TOO_MANY_REQUESTS else POLICY,
                error.code,
            )
        elif not free:
            socket.close(TRY_LATER, "too_many_streams")
        else:
            reader = LiveReader(shared.analyzer, shared.settings.track_max_age)
            with OPEN_STREAMS.track_inprogress():
                StreamSession(socket, reader, shared.readiness, shared.admission).run()
    return Finished()


class Finished(Response):
    """Report the web server that its connection has been used up."""

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Send nothing more on a connection that spoke WebSocket."""
        if "gunicorn.socket" in environ:
            raise StopIteration  # The sign on which gunicorn closes without an answer.
        return super().__call__(environ, start_response)


class StreamSession:
    """Talk with one client."""

    def __init__(
        self, socket: Socket, reader: LiveReader, readiness: Readiness, admission: AdmissionQueue
    ) -> None:
        self._socket = socket
        self._reader = reader
        self._readiness = readiness
        self._admission = admission
        self._frame = 0
        self._dropped = 0
        self._faults = 0

    def run(self) -> None:
        """Answer messages until the socket closes."""
        heard = time.monotonic()
        while self._readiness.is_running():
            message = self._socket.receive(TICK_SECONDS)
            if message is not None:
                self._answer(message)
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_SECONDS:
                return self._socket.close(POLICY, "silent")
            if self._faults >= MOST_FAULTS:
                return self._socket.close(POLICY, "too_many_faults")
        self._socket.close(GOING_AWAY, "server_stops")

    def _answer(self, message: bytes | str) -> None:
        newest = None
        waiting: bytes | str | None = message
        for count in range(MOST_WAITING):
            if count:
                waiting = self._socket.receive(0)
            if waiting is None:
                break
            if isinstance(waiting, str):
                self._send(self._set(waiting))
            else:
                self._frame += 1
                if newest is not None:
                    self._dropped += 1
                    FRAMES.labels("dropped").inc()
                newest = waiting
        if newest is not None:
            self._send(self._read(newest))

    def _read(self, data: bytes) -> dict[str, Any]:
        counts = {"frame": self._frame, "dropped": self._dropped}
        try:
            with self._admission.frame():
                analysis = self._reader.read_frame(data)
        except RautError as error:
            if find_status(error) < 500:  # Else the client isn't at fault, and may go on.
                self._faults += 1
            REFUSALS.labels(error.code).inc()
            return {**counts, "problem": problem_details(error)}
        self._faults = 0
        FRAMES.labels("read").inc()
        count_stages(analysis.timings_ms)
        return {**counts, **analysis.to_json()}

    def _set(self, message: str) -> dict[str, Any]:
        try:
            settings = _parse_settings(message)
            self._reader.choose(model_names(settings.choice), settings.choice.get(LABELS))
        except RautError as error:
            self._faults += 1
            return {"problem": problem_details(error)}
        self._reader.smoothing_seconds = settings.smoothing_seconds
        return {"settings": settings.model_dump(exclude_none=True)}

    def _send(self, answer: dict[str, Any]) -> None:
        self._socket.send(json.dumps(answer))


def _accept() -> Socket:
    connection = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    if connection is None:
        raise RautError(
            "sockets_unsupported", "This web server hands over no connection for a WebSocket."
        )
    headers = [
        (name.lower().encode(), value.encode())
        for name, value in request.headers
        if name.lower() in HANDSHAKE_HEADERS
    ]
    try:
        return Socket.accept(connection, headers, request.path, MOST_MESSAGE_BYTES)
    except SocketClosed as error:
        raise RautError(
            "handshake_invalid", f"This is no WebSocket handshake (RFC 6455): {error.reason}."
        ) from error


def _handshake_error() -> RautError | None:
    """Return why this client may open no socket, if it may not.

    It is told over the socket: a page would not learn what a handshake was answered with.
    """
    try:
        refuse_foreign()
        authenticate()
        consume_quota()
    except RautError as error:
        return error
    return None


def _parse_settings(message: str) -> StreamSettings:
    """Read the settings in a text message. Raises `RautError`."""
    try:
        return StreamSettings.model_validate_json(message)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise RautError(
            "settings_invalid",
            "A text message holds settings as a JSON object whose smoothing_seconds is from 0 to "
            f"{MOST_SMOOTHING_SECONDS:g}. {place or 'This one'}: {fault['msg']}. "
            "Frames go as binary messages.",
        ) from error
