"""Join the web application and its live streams into one ASGI application."""

import asyncio
import logging
import os
import signal

from flask import Flask
from werkzeug.exceptions import HTTPException

from app.errors import RautError
from app.web.api.stream import StreamServer
from app.web.server.admission import busy
from app.web.server.auth import most_body_bytes
from app.web.server.bridge import MOST_LARGE_UPLOADS, Receive, Scope, Send, WSGIBridge
from app.web.server.state import state_of

TICK_SECONDS = 1.0
# No request takes a fraction of this: an analysis ends within its budget. A thread that never ends
# would keep its place in the pool.
STUCK_SECONDS = 60.0


class ASGIApplication:
    """Answer HTTP requests by Flask, and WebSockets by the live stream."""

    def __init__(self, app: Flask) -> None:
        self.flask = app
        self._state = state_of(app)
        settings = self._state.settings
        self._urls = app.url_map.bind("localhost")
        self._bridge = WSGIBridge(
            app.wsgi_app,
            lambda method, path: most_body_bytes(self._endpoint(method, path), settings),
            MOST_LARGE_UPLOADS * settings.most_body_bytes,
            self._find_refusal,
            settings.analysis_timeout,
        )
        self._streams = StreamServer(app, self._bridge)

    @property
    def is_busy(self) -> bool:
        """Return whether another worker should take the next connection.

        Where photos are refused, the others have no less to do.
        """
        return self._state.admission.taken and not self._state.admission.full

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, a WebSocket, or the worker's life (the ASGI lifespan)."""
        if scope["type"] == "http":
            await self._bridge(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._streams(scope, receive, send)
        else:
            await self._live(receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        watching = asyncio.create_task(self._watch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        watching.cancel()
        self._bridge.shut_down()
        self._streams.shut_down()
        await send({"type": "lifespan.shutdown.complete"})

    async def _watch(self) -> None:
        """Publish the load, and end a worker that is stuck."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._state.readiness.publish_load()
            if self._bridge.longest_running(loop.time()) > STUCK_SECONDS:
                logging.getLogger("raut").error("a request does not end; the worker restarts")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _endpoint(self, method: str, path: str) -> str:
        try:
            return str(self._urls.match(path, method)[0])
        except HTTPException:
            return ""

    def _find_refusal(self, method: str, path: str) -> RautError | None:
        """Refuse a photo at once that would be refused by a thread.

        Under many times the load that can be served, it is the refusals that take the processors.
        """
        reads = ("api.analyze", "api.features")
        if self._state.admission.full and self._endpoint(method, path) in reads:
            return busy()
        return None
