"""Limit how many photos one client may send, whichever worker of whichever server answers."""

import ipaddress
import math
import threading
import time
from typing import cast
from urllib.parse import urlsplit

from flask import Flask, current_app, request
from limits import RateLimitItem, parse
from limits.errors import ConfigurationError
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from app.errors import RautError
from app.settings import Settings
from app.web.server import sqlite_storage  # noqa: F401 - makes the scheme shared:// known
from app.web.server.auth import READING, token_name
from app.web.server.state import state

# Whoever has one address of IPv6 has a whole network of them.
IPV6_PREFIX = 64

# Redis answers within a millisecond. A photo waits no longer than this for one that doesn't, and
# those of the next seconds don't wait at all.
ANSWER_SECONDS = 0.5
REST_SECONDS = 2.0


class StorageError(Exception):
    """Report in a sentence why photos can't be counted where the settings say."""


class RateLimiter:
    """Count each client's photos, and refuse those over the limit."""

    def __init__(self, limit: RateLimitItem, storage: Storage) -> None:
        self._limit = limit
        self._storage = storage
        self._limiter = FixedWindowRateLimiter(storage)
        self._lost = False
        self._tried_again = 0.0
        self._trying = threading.Lock()

    def spend(self, client: str) -> None:
        """Count one photo. Raises `RautError` with the code `rate_limited` over the limit.

        While the storage is lost all photos pass: nobody is to go without an answer because we
        can't count.
        """
        if not self._may_try():
            return
        try:
            allowed = self._limiter.hit(self._limit, client)
            ends = 0.0 if allowed else self._window_end(client)
        except self._storage.base_exceptions as error:
            self._report_loss(error)
            return
        self._recover()
        if not allowed:
            raise self._refusal(ends)

    def _window_end(self, client: str) -> float:
        return self._limiter.get_window_stats(self._limit, client).reset_time

    def _may_try(self) -> bool:
        """Return whether to ask the storage: one photo tries now and then while it is lost."""
        with self._trying:
            now = time.monotonic()
            if self._lost and now - self._tried_again < REST_SECONDS:
                return False
            self._tried_again = now
            return True

    def _report_loss(self, error: Exception) -> None:
        """Say once that the storage is lost."""
        with self._trying:
            lost_before, self._lost = self._lost, True
        if not lost_before:
            current_app.logger.error("photos are not counted", exc_info=error)

    def _recover(self) -> None:
        with self._trying:
            lost_before, self._lost = self._lost, False
        if lost_before:
            current_app.logger.info("photos are counted again")

    def _refusal(self, ends: float) -> RautError:
        seconds = max(1, math.ceil(ends - time.time()))
        return RautError(
            "rate_limited",
            f"More photos came from this client than {self._limit}. "
            f"Try again in {seconds} seconds, or ask the server's operator for more.",
            limit=str(self._limit),
            retry_after=seconds,
        )


def build_rate_limiter(settings: Settings) -> RateLimiter | None:
    """Return the limiter that the settings describe, None for no limit."""
    if not settings.rate_limit:
        return None
    return RateLimiter(parse(settings.rate_limit), open_storage(settings.rate_limit_storage))


def init_rate_limit(app: Flask) -> None:
    """Count every request that has a photo read."""
    app.before_request(_spend_on_photos)


def open_storage(address: str) -> Storage:
    """Return where photos are counted, without asking whether it answers. Raises `StorageError`."""
    is_near = urlsplit(address).scheme in ("memory", "shared")
    patience = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
    try:
        storage = storage_from_string(address, **({} if is_near else patience))
    except ConfigurationError as error:
        raise StorageError(
            f"RAUT_RATE_LIMIT_STORAGE is {_without_password(address)}, and the Python package "
            "redis isn't installed. Install it as requirements/serve.lock has it, or count in "
            "memory://."
        ) from error
    return cast(Storage, storage)  # Asynchronous ones are others.


def check_storage(settings: Settings) -> None:
    """Raise `StorageError` where photos are limited and can't be counted."""
    address = settings.rate_limit_storage
    if settings.rate_limit and not open_storage(address).check():
        raise StorageError(
            f"RAUT_RATE_LIMIT_STORAGE is {_without_password(address)}, where nothing answers. "
            "Start the Redis server there, or name another one."
        )


def _without_password(address: str) -> str:
    return address.replace(f"{urlsplit(address).password or ''}@", "@", 1)


def consume_quota() -> None:
    """Count one photo, or one live socket, of the client that asks. Raises `RautError`."""
    limiter = state().rate_limiter
    if limiter:
        limiter.spend(client_name())


def client_name() -> str:
    """Return what the client that asks is counted by: its token's name, or its network."""
    return token_name() or name_network(request.remote_addr or "")


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
    if request.endpoint in READING:
        consume_quota()
