"""Limit how many photos one client may send, whichever worker answers."""

import ipaddress
import math
import time
from typing import cast

from flask import Flask, current_app, request
from limits import RateLimitItem, parse
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from app.refusals import Refusal
from app.settings import Settings
from app.web import counters  # noqa: F401 - makes the scheme shared:// known
from app.web.access import READING, current_client

LIMITER = "raut_limiter"
# Whoever has one address of IPv6 has a whole network of them.
IPV6_PREFIX = 64


class PhotoLimit:
    """Count each client's photos, and refuse those over the limit."""

    def __init__(self, limit: RateLimitItem, storage: Storage) -> None:
        """Allow so many, counted there."""
        self._limit = limit
        self._storage = storage
        self._limiter = FixedWindowRateLimiter(storage)

    def spend(self, client: str) -> None:
        """Count one photo. Raises `Refusal` with the code `rate_limited` over the limit."""
        try:
            if self._limiter.hit(self._limit, client):
                return
            ends = self._limiter.get_window_stats(self._limit, client).reset_time
        except self._storage.base_exceptions as error:
            # Nobody is to go without an answer because we can't count.
            current_app.logger.error("photos are not counted", exc_info=error)
            return
        seconds = max(1, math.ceil(ends - time.time()))
        raise Refusal(
            "rate_limited",
            429,
            f"More photos came from this client than {self._limit}. "
            f"Try again in {seconds} seconds, or ask the server's operator for more.",
            limit=str(self._limit),
            retry_after=seconds,
        )


def init_limits(app: Flask, settings: Settings) -> None:
    """Set the limit up, if there is one."""
    if not settings.photo_limit:
        return
    storage = cast(Storage, storage_from_string(settings.limits))  # asynchronous ones are others
    app.extensions[LIMITER] = PhotoLimit(parse(settings.photo_limit), storage)
    app.before_request(_spend_on_photos)


def spend_photo() -> None:
    """Count one photo, or one live socket, of the client that asks. Raises `Refusal`."""
    limiter: PhotoLimit | None = current_app.extensions.get(LIMITER)
    if limiter:
        limiter.spend(current_client() or name_network(request.remote_addr or ""))


def name_network(address: str) -> str:
    """Return what stands for one client: its address, or its network of IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # A socket of the file system has none.
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))


def _spend_on_photos() -> None:
    """Count requests that have a photo read."""
    if request.endpoint in READING:
        spend_photo()
