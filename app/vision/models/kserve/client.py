"""Ask an inference server over HTTP: within a time, again where that may help, and not for ever."""

from __future__ import annotations

import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import urllib3
from circuitbreaker import CircuitBreaker
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, TimeoutError

from app.errors import RautError
from app.vision.models.kserve.tensors import JSON_LENGTH, read_answer, write_request

# What a gateway or a server answers that is full, restarts or waits for another.
PASSING_STATUSES = {502, 503, 504}
# The first pause is at most this long, each further one at most twice as long as the one before.
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
# As many connections as a worker has threads are kept; a further one is closed after its answer.
KEPT_CONNECTIONS = 32
# The logits of 65 crops have some kilobytes; what is larger is no answer to us.
MOST_ANSWER_BYTES = 1_000_000
READ_BYTES = 65_536
RETRY_SECONDS = 1  # to come back after, while the breaker is closed

logger = logging.getLogger(__name__)


class ServerFault(Exception):  # noqa: N818 - the server is at fault, not the program
    """Report the operator why the server gave no answer that can be used; nothing of a picture."""


class Unreachable(ServerFault):
    """Report that no connection held, or that the server said to be out: it may be back soon."""


class WrongAnswer(ServerFault):
    """Report that the server answered, but not what was asked for."""


class ModelDiffers(ServerFault):
    """Report that the server's model is another one than the card describes."""


@dataclass(frozen=True)
class _Reply:
    """Hold an HTTP answer."""

    headers: Mapping[str, str]
    body: bytes


class KServeClient:
    """Hold the way to one server; one object serves any number of threads."""

    def __init__(
        self, url: str, seconds: float = 2.0, failures: int = 5, pause_seconds: float = 10.0
    ) -> None:
        """Prepare to ask the server at `url`, http or https.

        `seconds` is how long one batch may take, with everything that is tried for it. After
        `failures` batches in a row that a model didn't answer, it is sent none for
        `pause_seconds`; the next one then decides whether it goes on.
        """
        place = urllib3.util.parse_url(url)
        self.url = place.url.rstrip("/")
        self._path = (place.path or "").rstrip("/")
        self._seconds = seconds
        # Redirects aren't followed: crops go to the operator's server and to no other.
        self._pool = urllib3.connection_from_url(url, maxsize=KEPT_CONNECTIONS, retries=False)
        # One for each model: another's answers don't make up for its failures.
        self._breakers: defaultdict[str, CircuitBreaker] = defaultdict(
            lambda: CircuitBreaker(failures, pause_seconds, ServerFault)
        )

    def allow(self) -> float:
        """Return until when, on `time.monotonic`, a batch that begins now may take."""
        return time.monotonic() + self._seconds

    @contextmanager
    def attempt(self, model: str) -> Iterator[float]:
        """Yield until when a batch may take, and count whether a model answered it.

        Raises `RautError` with the code `inference_unavailable` where it wasn't, and at once while
        the breaker is open.
        """
        breaker = self._breakers[model]
        if breaker.opened:
            raise _unavailable(breaker)
        try:
            with breaker:
                yield self.allow()
        except ServerFault as fault:
            logger.warning("The inference server at %s: %s", self.url, fault)
            # The breaker remembers its last failure, whose traceback would keep the crops.
            fault.__traceback__ = fault.__context__ = None
            raise _unavailable(breaker) from None

    def check_ready(self, model: str, ends: float) -> None:
        """Raise `ServerFault` where the server or one of its models isn't ready."""
        self._request("GET", "/v2/health/ready", ends)
        self._request("GET", f"{_address(model)}/ready", ends)

    def find_parameters(self, model: str, ends: float) -> dict[str, Any]:
        """Return what the server tells of a model in parameters; not every server does.

        They are in the model's metadata, or, with Triton, in its configuration.
        """
        told: dict[str, Any] = {}
        for address in (_address(model), f"{_address(model)}/config"):
            try:
                described = json.loads(self._request("GET", address, ends).body)
            except (WrongAnswer, ValueError):  # Only the metadata are part of the protocol.
                continue
            if isinstance(described, dict) and isinstance(described.get("parameters"), dict):
                told |= described["parameters"]
        return told

    def infer(
        self,
        model: str,
        name: str,
        crops: np.ndarray,
        heads: Mapping[str, int],
        ends: float,
        binary: bool = True,
    ) -> dict[str, np.ndarray]:
        """Run a model on crops as one batch and return each head's logits.

        `name` is the model's input, `crops` uint8 (count, size, size, channels), `heads` maps
        names to their classes' count. Raises `ServerFault`.
        """
        body, headers = write_request(name, crops, heads, binary)
        reply = self._request("POST", f"{_address(model)}/infer", ends, body, headers)
        try:
            return read_answer(reply.body, reply.headers.get(JSON_LENGTH), len(crops), heads)
        except (ValueError, TypeError):
            # What is wrong with it may quote it, and a server may answer what it was sent.
            raise WrongAnswer(
                f"it answered {len(reply.body)} bytes that aren't the logits of {model}."
            ) from None

    def _request(
        self,
        method: str,
        address: str,
        ends: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Reply:
        """Send a request, and again after a pause where it may help, as long as the time allows.

        The pauses are drawn from nothing to a bound that doubles ("full jitter": Brooker,
        "Exponential backoff and jitter", 2015), so that many clients don't come back together.
        """
        patience = Retrying(
            retry=retry_if_exception_type(Unreachable),
            wait=wait_random_exponential(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS),
            stop=stop_before_delay(ends - time.monotonic()),
            reraise=True,
        )
        return patience(self._exchange, method, address, ends, body, headers)

    def _exchange(
        self,
        method: str,
        address: str,
        ends: float,
        body: bytes | None,
        headers: Mapping[str, str] | None,
    ) -> _Reply:
        """Send a request once."""
        try:
            response = self._pool.urlopen(
                method,
                self._path + address,
                body,
                headers,
                redirect=False,
                timeout=urllib3.Timeout(total=self._left(ends)),
                preload_content=False,
            )
            content = self._read(response, ends)
        except (NewConnectionError, ProtocolError) as error:
            raise Unreachable(f"{address} can't be reached ({type(error).__name__}).") from None
        except TimeoutError:  # A connection that was refused is one to urllib3, too.
            raise self._late() from None
        except HTTPError as error:
            raise ServerFault(f"{address} can't be asked ({type(error).__name__}).") from None
        if response.status in PASSING_STATUSES:
            raise Unreachable(f"{address} answered with status {response.status}.")
        if response.status != 200:
            raise WrongAnswer(f"{address} answered with status {response.status}.")
        return _Reply(response.headers, content)

    def _read(self, response: BaseHTTPResponse, ends: float) -> bytes:
        """Read an answer piece by piece, so that one which trickles in doesn't outlast the time."""
        content = bytearray()
        try:
            while piece := response.read1(READ_BYTES):
                content += piece
                if len(content) > MOST_ANSWER_BYTES:
                    raise WrongAnswer(f"it answered more than {MOST_ANSWER_BYTES} bytes.")
                self._left(ends)
        except BaseException:
            response.close()  # What is left unread would be taken for the next answer.
            raise
        return bytes(content)

    def _left(self, ends: float) -> float:
        """Return the seconds left. Raises `ServerFault` where there are none."""
        left = ends - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> ServerFault:
        return ServerFault(f"no answer came within {self._seconds:g} s.")


def _unavailable(breaker: CircuitBreaker) -> RautError:
    """Refuse what can't be answered now, and say when to try again."""
    pause = breaker.open_remaining if breaker.opened else 0
    return RautError(
        "inference_unavailable",
        "The inference server, which computes the readings, does not answer at present. "
        "Wait a few seconds and try again.",
        retry_after=max(RETRY_SECONDS, pause),
    )


def _address(model: str) -> str:
    return f"/v2/models/{quote(model, safe='')}"
