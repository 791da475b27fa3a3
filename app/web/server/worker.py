"""Run gunicorn's ASGI worker with our listener, and let it drain before it ends."""

import asyncio
from collections.abc import Callable
from typing import Any

from gunicorn.asgi.websocket import WebSocketProtocol
from gunicorn.workers.gasgi import ASGIWorker

from app.settings import Settings
from app.web.server.connections import Connections, Listener

MOST_MESSAGE_BYTES = 2_000_000  # A live frame of 640 by 480 at the best quality has a tenth of it.
# gunicorn's settings of the connections.
PROTOCOL_SETTINGS: dict[str, Any] = {
    "keepalive": 5,  # seconds; less than `connections.HEAD_SECONDS`
    "asgi_lifespan": "on",
    "asgi_disconnect_grace_period": 0,  # A client that leaves ends the work for it.
    "websocket_max_message_size": MOST_MESSAGE_BYTES,
    # A head is held in memory until it ends.
    "limit_request_fields": 60,
    "limit_request_field_size": 4094,
}


class SharedListenerLoop(asyncio.SelectorEventLoop):
    """Create servers that leave new connections to a less busy worker."""

    def __init__(self, is_busy: Callable[[], bool]) -> None:
        super().__init__()
        self.connections = Connections()
        self._is_busy = is_busy

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Any, *_: Any, sock: Any, **__: Any
    ) -> Listener:
        """Return a `Listener` at a bound socket; the other arguments of asyncio don't apply."""
        return Listener(sock, protocol_factory, self.connections, self._is_busy)


class Worker(ASGIWorker):
    """Serve for the drain time once told to end, and then end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._drain_seconds = Settings().drain_seconds
        self._draining = False

    @property
    def leaving(self) -> bool:
        """Return whether the worker was told to end."""
        return self._draining or not self.alive

    def handle_exit_signal(self) -> None:
        """Begin to drain; told again, or with no drain time, end."""
        if self.leaving or not self._drain_seconds:
            super().handle_exit_signal()
            return
        self._draining = True
        # A kept connection may be sent the next request just as it is closed.
        self.cfg.set("keepalive", 0)
        self.loop.call_later(self._drain_seconds, super().handle_exit_signal)

    def _setup_event_loop(self) -> None:
        self.loop = SharedListenerLoop(lambda: self.asgi.is_busy)
        asyncio.set_event_loop(self.loop)


def _unmask(_: WebSocketProtocol, payload: bytes, key: bytes) -> bytes:
    """Unmask a payload (RFC 6455, section 5.3) as one integer.

    gunicorn 27 does it byte by byte in Python: 70 ns each, 3 ms a live frame and 140 ms a message
    of the largest size, during which its event loop does nothing else.
    """
    size = len(payload)
    mask = (key * (size // len(key) + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(mask)).to_bytes(size)


WebSocketProtocol._unmask = _unmask
