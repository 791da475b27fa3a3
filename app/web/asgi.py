"""Join the web application and its live streams into one ASGI application."""

import asyncio
import logging
import os
import signal

from flask import Flask

from app.web.api.stream import StreamServer
from app.web.server.bridge import Receive, Scope, Send, WSGIBridge
from app.web.server.state import state_of

TICK_SECONDS = 1.0
# No request takes a fraction of this: an analysis ends within its budget. A thread that never ends
# would stay in the pool.
STUCK_SECONDS = 60.0


class ASGIApplication:
    """Answer HTTP requests by Flask, and WebSockets by the live stream."""

    def __init__(self, app: Flask) -> None:
        self.flask = app
        self._state = state_of(app)
        self._bridge = WSGIBridge(app)
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
