"""Read a camera's frames over a WebSocket: `WS /api/v1/stream`. docs/stream.md describes it.

A client sends one JPEG as a binary message and waits for the answer. Of a camera's frames that it
sends ahead only the newest is read, so that nothing ever queues and the delay stays bounded. A
film's frames carry their own time, and each of them is read.
"""

import asyncio
import math
import struct
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Literal

from flask import Blueprint, Flask, json, request
from flask.typing import ResponseReturnValue
from pydantic import Field, ValidationError

from app.errors import RautError
from app.vision.budget import Budget
from app.vision.live import LiveReader
from app.vision.models.cards import StrictModel
from app.vision.models.selection import split_names
from app.vision.readings import Analysis
from app.vision.tracking import FILM_MAX_AGE, MOST_SMOOTHING_SECONDS
from app.web.server.bridge import (
    HANDSHAKE,
    LINGER_SECONDS,
    Receive,
    Scope,
    Send,
    WSGIBridge,
    write_http,
)
from app.web.server.connections import current_connection
from app.web.server.error_responses import find_status, problem_details
from app.web.server.metrics import FRAMES, OPEN_STREAMS, REFUSALS, count_stages
from app.web.server.rate_limit import client_name
from app.web.server.state import state, state_of

GOING_AWAY = 1001
POLICY = 1008
TRY_LATER = 1013

SILENCE_SECONDS = 30.0  # without a frame
MOST_FAULTS = 10  # Messages refused in a row; a client that goes on sends nothing of use.
MOST_WAITING_SETTINGS = 100
MOST_FRAMES_AHEAD = 2  # of a film; the client's further ones wait in its own socket
MEDIA_TIME = struct.Struct(">d")  # seconds, before a film's frame
# How soon an idle stream notices that its worker ends.
TICK_SECONDS = 1.0
# A client that doesn't read its answers is given up after this long.
SEND_SECONDS = 10.0

# What is answered to the handshake itself.
BEFORE_HANDSHAKE = {HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE}

blueprint = Blueprint("stream", __name__, url_prefix="/api/v1")


class StreamSettings(StrictModel, strict=True):
    """Hold what a client may set for its own stream.

    `models` and `label_set` are as the API's form has them, by default the server's own
    choice. With the clock "media" each frame begins with its own time.
    """

    smoothing_seconds: float | None = Field(None, ge=0, le=MOST_SMOOTHING_SECONDS)
    clock: Literal["media"] | None = None
    models: str | None = None
    label_set: str | None = None


@blueprint.route("/stream", websocket=True)
def stream() -> ResponseReturnValue:
    """Allow the handshake that `StreamServer` received; no other server has WebSockets.

    A server that leaves refuses before the handshake, so that a proxy can choose another one.
    """
    state().readiness.check_running()
    if HANDSHAKE not in request.environ:
        raise RautError("sockets_unsupported", "This web server can't open a WebSocket.")
    request.environ[HANDSHAKE]["client"] = client_name()
    return "", HTTPStatus.NO_CONTENT


class StreamServer:
    """Serve the streams of one worker."""

    def __init__(self, app: Flask, bridge: WSGIBridge) -> None:
        self._app = app
        self._bridge = bridge
        # More at once than analyses would only wait.
        self._pool = ThreadPoolExecutor(state_of(app).settings.at_once, "frame")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        connection = current_connection()
        with connection.working():
            await receive()
            handshake: dict[str, str] = {}  # what the application learns from it
            answer = await self._bridge.call(scope, {HANDSHAKE: handshake})
            if answer.status in BEFORE_HANDSHAKE:
                connection.answer_and_close(write_http(answer))
                return
            await send({"type": "websocket.accept"})
            if answer.status == HTTPStatus.NO_CONTENT:
                await self._serve(handshake["client"], receive, send)
                return
            # Of a handshake that is refused a page learns no reason, over a socket it does.
            later = answer.status == HTTPStatus.TOO_MANY_REQUESTS
            await close(send, TRY_LATER if later else POLICY, json.loads(answer.body)["code"])

    def shut_down(self) -> None:
        """Read no more frames."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, client: str, receive: Receive, send: Send) -> None:
        with state_of(self._app).stream_slots.hold(client) as free:
            if not free:
                await close(send, TRY_LATER, "too_many_streams")
                return
            with OPEN_STREAMS.track_inprogress():
                await StreamSession(self._app, self._pool, receive, send).run()


class StreamSession:
    """Answer the messages of one client."""

    def __init__(self, app: Flask, pool: ThreadPoolExecutor, receive: Receive, send: Send) -> None:
        self._state = state_of(app)
        self._pool = pool
        self._receive = receive
        self._send_message = send
        self._reader = LiveReader(self._state.analyzer, self._state.settings.track_max_age)
        self._settings: deque[str] = deque()
        self._frames: deque[tuple[int, bytes]] = deque()
        self._media = False
        self._media_time = -math.inf
        self._frame = 0
        self._dropped = 0
        self._faults = 0
        self._left = False
        self._came = asyncio.Event()
        self._handled = asyncio.Event()

    async def run(self) -> None:
        """Answer messages until either side closes."""
        receiving = asyncio.create_task(self._receive_messages())
        try:
            if reason := await self._answer_messages():
                await close(self._send_message, *reason)
        finally:
            receiving.cancel()

    async def _receive_messages(self) -> None:
        while (message := await self._receive())["type"] == "websocket.receive":
            if (data := message.get("bytes")) is None:
                self._settings.append(message["text"])
            else:
                await self._take_frame(data)
            self._came.set()
        self._left = True
        self._came.set()

    async def _take_frame(self, data: bytes) -> None:
        """Let a frame wait; a camera's newest replaces another, a film's waits."""
        while self._settings or (self._media and len(self._frames) >= MOST_FRAMES_AHEAD):
            self._handled.clear()
            await self._handled.wait()
        self._frame += 1
        if self._frames and not self._media:
            self._frames.clear()
            self._dropped += 1
            FRAMES.labels("dropped").inc()
        self._frames.append((self._frame, data))

    async def _answer_messages(self) -> tuple[int, str] | None:
        """Answer until the client leaves, or return the code and reason to close it with."""
        clock = asyncio.get_running_loop().time
        framed = clock()
        while not self._left:
            self._came.clear()
            if not self._state.readiness.is_running():
                return GOING_AWAY, "server_stops"
            if self._faults >= MOST_FAULTS or len(self._settings) > MOST_WAITING_SETTINGS:
                return POLICY, "too_many_faults"
            if self._settings:
                await self._answer(self._set(self._settings.popleft()))
            elif self._frames:
                await self._answer(await self._read(*self._frames.popleft()))
                framed = clock()
            elif clock() - framed > SILENCE_SECONDS:
                return POLICY, "silent"
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._came.wait(), TICK_SECONDS)
            self._handled.set()
        return None

    async def _read(self, number: int, data: bytes) -> dict[str, Any]:
        counts = {"frame": number, "dropped": self._dropped}
        budget = Budget(self._state.settings.analysis_timeout)
        loop = asyncio.get_running_loop()
        try:
            analysis = await loop.run_in_executor(self._pool, self._read_frame, data, budget)
        except asyncio.CancelledError:
            budget.cancel()
            raise
        except RautError as error:
            if find_status(error) < 500:  # Else the client isn't at fault, and may go on.
                self._faults += 1
            REFUSALS.labels(error.code).inc()
            return {**counts, "problem": problem_details(error)}
        self._faults = 0
        FRAMES.labels("read").inc()
        count_stages(analysis.timings_ms)
        return {**counts, **analysis.to_json()}

    def _read_frame(self, data: bytes, budget: Budget) -> Analysis:
        seconds = None
        if self._media:
            seconds, data = _split_time(data, self._media_time)
            self._media_time = seconds
        with self._state.admission.frame():
            return self._reader.read_frame(data, budget, seconds)

    def _set(self, message: str) -> dict[str, Any]:
        try:
            settings = _parse_settings(message)
            begins = settings.clock is not None and not self._media
            if begins and self._frame:
                raise _invalid_settings("clock", "it is set before the first frame")
            reader = LiveReader(self._state.analyzer, FILM_MAX_AGE) if begins else self._reader
            reader.choose(split_names(settings.models), settings.label_set or None)
        except RautError as error:
            self._faults += 1
            return {"problem": problem_details(error)}
        self._reader = reader
        self._media |= begins
        if settings.smoothing_seconds is not None:
            reader.smooth(settings.smoothing_seconds)
        return {"settings": settings.model_dump(exclude_none=True)}

    async def _answer(self, answer: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send_message({"type": "websocket.send", "text": json.dumps(answer)})
        except TimeoutError:  # The client doesn't read.
            current_connection().abort()
            self._left = True


async def close(send: Send, code: int, reason: str) -> None:
    """Close a WebSocket, and its connection soon after, whatever the client does."""
    current_connection().abort_within(LINGER_SECONDS)
    await send({"type": "websocket.close", "code": code, "reason": reason})


def _parse_settings(message: str) -> StreamSettings:
    """Read the settings in a text message. Raises `RautError`."""
    try:
        return StreamSettings.model_validate_json(message)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        raise _invalid_settings(".".join(map(str, fault["loc"])), fault["msg"]) from error


def _invalid_settings(name: str, fault: str) -> RautError:
    return RautError(
        "settings_invalid",
        "A text message holds settings as a JSON object whose smoothing_seconds is from 0 to "
        f"{MOST_SMOOTHING_SECONDS:g}. {name or 'This one'}: {fault}. "
        "Frames go as binary messages.",
    )


def _split_time(data: bytes, last: float) -> tuple[float, bytes]:
    """Return a film's frame as its seconds and its JPEG. Raises `RautError` without a time."""
    seconds = MEDIA_TIME.unpack_from(data)[0] if len(data) >= MEDIA_TIME.size else math.nan
    if not (math.isfinite(seconds) and seconds >= last):
        raise RautError(
            "frame_time_invalid",
            "With the clock media a frame begins with its time: 8 bytes, big-endian float64, in "
            "seconds, not before the last frame's.",
        )
    return seconds, data[MEDIA_TIME.size :]
