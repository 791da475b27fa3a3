"""Call an inference server over HTTP with a deadline, retries and a circuit breaker."""

import http.client
import io
import json
import logging
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import numpy as np
import urllib3
from circuitbreaker import CircuitBreaker
from tenacity import retry, retry_if_exception_type, wait_random_exponential
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, NewConnectionError, ProtocolError, TimeoutError

from app.errors import RautError
from app.vision.models.kserve.tensors import JSON_LENGTH, read_response, write_request

# A gateway or a server that is full or restarts.
RETRIED_STATUSES = {502, 503, 504}
# Bounds of the first and of the longest pause between two attempts.
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
# As many connections as a worker has threads are kept; a further one is closed after its response.
KEPT_CONNECTIONS = 32
# The logits of 65 crops have some kilobytes.
MOST_RESPONSE_BYTES = 1_000_000
READ_BYTES = 65_536
RETRY_SECONDS = 1  # Retry-After while the breaker is closed

# A compressed answer of a kilobyte can have a gigabyte.
HEADERS = {"Accept-Encoding": "identity"}

logger = logging.getLogger(__name__)


class InferenceError(Exception):
    """Report to the operator why there is no usable response; says nothing of a photo."""


class TransientError(InferenceError):
    """Report a lost connection or an unavailable server, which a retry may find again."""


class ResponseError(InferenceError):
    """Report a response that isn't the expected one."""


class ModelMismatchError(InferenceError):
    """Report that the server's model isn't the one that the card describes."""


class _TimedReader(io.RawIOBase):
    """Read from a response's socket until the time that it had when the response began is over.

    A socket's own timeout begins anew with each byte.
    """

    def __init__(self, sock: socket.socket, stream: io.BufferedReader) -> None:
        self._sock = sock
        self._stream = stream
        self._deadline = time.monotonic() + (sock.gettimeout() or 0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._sock.settimeout(remaining)
        return self._stream.raw.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """Bound the time of the whole response: its head, any "100 Continue" before it, its body."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_TimedReader(sock, self.fp))


class KServeClient:
    """Client of one server for any number of threads."""

    def __init__(
        self, url: str, timeout: float, breaker_threshold: int, breaker_reset: float
    ) -> None:
        """Prepare to call the server at `url`, http or https.

        `timeout` is in seconds, for one batch with all its retries. After `breaker_threshold`
        failed batches in a row a model gets none for `breaker_reset` seconds; the next one decides.
        """
        parts = urllib3.util.parse_url(url)
        self.url = parts.url.rstrip("/")
        self._path = (parts.path or "").rstrip("/")
        self._timeout = timeout
        # Redirects aren't followed: crops go to the operator's server and to no other.
        self._pool = urllib3.connection_from_url(url, maxsize=KEPT_CONNECTIONS, retries=False)
        self._pool.ConnectionCls = type(
            "TimedConnection", (self._pool.ConnectionCls,), {"response_class": _TimedResponse}
        )
        # One for each model: another's successes don't make up for its failures.
        self._breakers: defaultdict[str, CircuitBreaker] = defaultdict(
            lambda: CircuitBreaker(breaker_threshold, breaker_reset, InferenceError)
        )

    def deadline(self) -> float:
        """Return the deadline, on `time.monotonic`, of a batch that begins now."""
        return time.monotonic() + self._timeout

    @contextmanager
    def attempt(self, model: str) -> Iterator[float]:
        """Yield the deadline of a batch, and count its success or failure in the model's breaker.

        Raises `RautError` with the code `inference_unavailable` for an `InferenceError`, and at
        once while the breaker is open.
        """
        breaker = self._breakers[model]
        if breaker.opened:
            raise _unavailable(breaker)
        try:
            with breaker:
                yield self.deadline()
        except InferenceError as error:
            logger.warning("The inference server at %s: %s", self.url, error)
            # The breaker remembers its last failure, whose traceback would keep the crops.
            error.__traceback__ = error.__context__ = None
            raise _unavailable(breaker) from None

    def check_ready(self, model: str, deadline: float) -> None:
        """Raise `InferenceError` unless the server and the model are ready."""
        self._request("GET", "/v2/health/ready", deadline)
        self._request("GET", f"{_path(model)}/ready", deadline)

    def find_parameters(self, model: str, deadline: float) -> dict[str, Any]:
        """Return the parameters in a model's metadata and, with Triton, in its configuration."""
        parameters: dict[str, Any] = {}
        for path in (_path(model), f"{_path(model)}/config"):
            try:
                described = json.loads(self._request("GET", path, deadline)[1])
            except (ResponseError, ValueError, RecursionError):
                continue  # Only the metadata are part of the protocol.
            if isinstance(described, dict) and isinstance(described.get("parameters"), dict):
                parameters |= described["parameters"]
        return parameters

    def infer(
        self,
        model: str,
        name: str,
        crops: np.ndarray,
        heads: Mapping[str, int],
        deadline: float,
        binary: bool,
    ) -> dict[str, np.ndarray]:
        """Run a model on crops as one batch and return each head's logits.

        `name` is the model's input, `crops` uint8 (count, size, size, channels), `heads` maps
        names to their number of classes. Raises `InferenceError`.
        """
        body, headers = write_request(name, crops, heads, binary)
        received, content = self._request("POST", f"{_path(model)}/infer", deadline, body, headers)
        try:
            return read_response(content, received.get(JSON_LENGTH), len(crops), heads)
        except (ValueError, TypeError):
            # The error's text may quote the response, and a server may echo the request.
            raise ResponseError(
                f"it answered {len(content)} bytes that aren't the logits of {model}."
            ) from None

    @retry(
        retry=retry_if_exception_type(TransientError),
        wait=wait_random_exponential(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS),
        stop=lambda state: time.monotonic() + state.upcoming_sleep >= state.args[3],  # the deadline
        reraise=True,
    )
    def _request(
        self,
        method: str,
        path: str,
        deadline: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """Send a request, retry transient errors before the deadline, return headers and body.

        The pauses have full jitter (Brooker, "Exponential backoff and jitter", 2015), so that
        many clients don't return together.
        """
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise self._late()
        try:
            response = self._pool.urlopen(
                method,
                self._path + path,
                body,
                {**HEADERS, **(headers or {})},
                redirect=False,
                timeout=urllib3.Timeout(total=remaining),
                preload_content=False,
            )
            content = _read(response)
        except (NewConnectionError, ProtocolError) as error:
            raise TransientError(f"{path} can't be reached ({type(error).__name__}).") from None
        except TimeoutError:  # Comes after NewConnectionError, which is one to urllib3.
            raise self._late() from None
        except HTTPError as error:
            raise InferenceError(f"{path} can't be requested ({type(error).__name__}).") from None
        if response.status != 200:
            kind = TransientError if response.status in RETRIED_STATUSES else ResponseError
            raise kind(f"{path} answered with status {response.status}.")
        return response.headers, content

    def _late(self) -> InferenceError:
        return InferenceError(f"no answer came within {self._timeout:g} s.")


def _read(response: BaseHTTPResponse) -> bytes:
    """Read in pieces, none decoded, so that a response of any length is bounded."""
    content = bytearray()
    try:
        if "Content-Encoding" in response.headers:
            raise ResponseError("it answered in a content encoding, which wasn't accepted.")
        while piece := response.read1(READ_BYTES, decode_content=False):
            content += piece
            if len(content) > MOST_RESPONSE_BYTES:
                raise ResponseError(f"it answered more than {MOST_RESPONSE_BYTES} bytes.")
    except BaseException:
        response.close()  # Unread bytes would be taken for the next response.
        raise
    return bytes(content)


def _unavailable(breaker: CircuitBreaker) -> RautError:
    pause = breaker.open_remaining if breaker.opened else 0
    return RautError(
        "inference_unavailable",
        "The inference server, which computes the readings, does not answer at present. "
        "Wait a few seconds and try again.",
        retry_after=max(RETRY_SECONDS, pause),
    )


def _path(model: str) -> str:
    return f"/v2/models/{quote(model, safe='')}"
