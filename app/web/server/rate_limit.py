"""Limit how many photos one client may send, and how many tokens it may guess.

All workers of all servers count together.
"""

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import cast
from urllib.parse import urlsplit

from flask import current_app, request
from limits import RateLimitItem, parse
from limits.errors import ConfigurationError
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from app.errors import RautError
from app.settings import Settings
from app.web.server import sqlite_storage  # noqa: F401 - makes the scheme shared:// known
from app.web.server.addresses import name_network
from app.web.server.auth import READING, token_name
from app.web.server.state import state

# Tokens are too long to be guessed; the limit is for those that somebody thought up.
GUESSES = parse("10/minute")

# Redis answers within a millisecond. A photo waits no longer than this for one that doesn't, and
# those of the next seconds don't wait at all.
ANSWER_SECONDS = 0.5
REST_SECONDS = 2.0


class StorageError(Exception):
    """Report in a sentence why photos can't be counted where the settings say."""


class RateLimiter:
    """Count each client's photos and guesses, and refuse those over the limit.

    `photos` is None for no limit of photos. While the storage is lost all requests pass: nobody is
    to go without an answer because we can't count.
    """

    def __init__(self, storage: Storage, photos: RateLimitItem | None) -> None:
        self._storage = storage
        self._photos = photos
        self._limiter = FixedWindowRateLimiter(storage)
        self._lost = False
        self._tried_again = 0.0
        self._trying = threading.Lock()

    def spend(self, client: str, photos: int) -> None:
        """Count photos. Raises `RautError` with the code `rate_limited` over the limit."""
        if self._photos:
            hit = partial(self._limiter.hit, cost=photos)
            self._ask("photos", hit, self._photos, client)

    def check_guesses(self, client: str) -> None:
        """Raise `RautError` with the code `rate_limited` for whom no token is compared any more."""
        self._ask("unknown tokens", self._limiter.test, GUESSES, "guess", client)

    def count_guess(self, client: str) -> None:
        """Count one unknown token. Raises `RautError` with the code `rate_limited`."""
        self._ask("unknown tokens", self._limiter.hit, GUESSES, "guess", client)

    def _ask(self, what: str, ask: Callable[..., bool], limit: RateLimitItem, *client: str) -> None:
        if not self._may_try():
            return
        try:
            allowed = ask(limit, *client)
            ends = 0.0 if allowed else self._limiter.get_window_stats(limit, *client).reset_time
        except self._storage.base_exceptions as error:
            if not self._note(lost=True):
                current_app.logger.error("photos are not counted", exc_info=error)
            return
        if self._note(lost=False):
            current_app.logger.info("photos are counted again")
        if not allowed:
            seconds = max(1, math.ceil(ends - time.time()))
            raise RautError(
                "rate_limited",
                f"More {what} came from this client than {limit}. "
                f"Try again in {seconds} seconds, or ask the server's operator for more.",
                limit=str(limit),
                retry_after=seconds,
            )

    def _may_try(self) -> bool:
        """Return whether to ask the storage: one photo tries now and then while it is lost."""
        with self._trying:
            now = time.monotonic()
            if self._lost and now - self._tried_again < REST_SECONDS:
                return False
            self._tried_again = now
            return True

    def _note(self, lost: bool) -> bool:
        """Note whether the storage is lost, and return whether it was before."""
        with self._trying:
            before, self._lost = self._lost, lost
        return before


def build_rate_limiter(settings: Settings) -> RateLimiter | None:
    """Return the limiter that the settings describe, None where nothing is counted."""
    if not settings.counts_clients:
        return None
    photos = parse(settings.rate_limit) if settings.rate_limit else None
    return RateLimiter(open_storage(settings.rate_limit_storage), photos)


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
    """Raise `StorageError` where clients are to be counted and can't be."""
    address = settings.rate_limit_storage
    if settings.counts_clients and not open_storage(address).check():
        raise StorageError(
            f"RAUT_RATE_LIMIT_STORAGE is {_without_password(address)}, where nothing answers. "
            "Start the Redis server there, or name another one."
        )


def _without_password(address: str) -> str:
    return address.replace(f"{urlsplit(address).password or ''}@", "@", 1)


def consume_quota(photos: int = 1) -> None:
    """Count photos, or live sockets, of the client that asks. Raises `RautError`."""
    limiter = state().rate_limiter
    if limiter:
        limiter.spend(client_name(), photos)


def client_name() -> str:
    """Return what the client that asks is counted by: its token's name, or its network."""
    return token_name() or name_network(request.remote_addr or "")


def spend_on_photos() -> None:
    """Count a request that has a photo read."""
    if request.endpoint in READING:
        consume_quota()
