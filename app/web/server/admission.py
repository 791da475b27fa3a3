"""Share out the processors among the analyses of one process: photos first, and no long wait.

More at once than there are processors would only be switched between, and all would answer late.
"""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import RautError

RETRY_SECONDS = 1  # By then whoever waits now has been answered.

# A photo that is refused now and then is what a short waiting room means. A worker is overloaded
# once the room was full for more than half of the last seconds, as it is at twice the photos that
# can be read; and no more once it has had rest, or it would come and go with each photo.
MOMENT_SECONDS = 2.0
OVERLOADED_SHARE = 0.5
RESTED_SHARE = 0.05


# The mean of the last photos' times predicts the next ones'.
FIRST_PHOTO_SECONDS = 0.1
WEIGHT_OF_LAST = 0.2
# A waiting photo holds one of a worker's threads, some of which are left for pages.
MOST_QUEUED = 16


class Load:
    """Average over the last seconds, exponentially, whether photos were refused."""

    def __init__(self) -> None:
        self.too_high = False
        self._share = 0.0
        self._full = False
        self._noted = time.monotonic()

    def note(self, full: bool) -> None:
        """Note whether a photo would be refused from now on."""
        now = time.monotonic()
        kept = math.exp((self._noted - now) / MOMENT_SECONDS)
        self._share = kept * self._share + (1 - kept) * self._full
        self._full, self._noted = full, now
        self.too_high = self._share > (RESTED_SHARE if self.too_high else OVERLOADED_SHARE)


class AdmissionQueue:
    """Give slots in the order of asking, photos first; between two photos one frame may go.

    A photo is refused that would wait for more than `queue_seconds`, or behind `MOST_QUEUED`.
    """

    def __init__(self, at_once: int, queue_seconds: float) -> None:
        self._at_once = at_once
        self._queue_seconds = queue_seconds
        self._photo_seconds = FIRST_PHOTO_SECONDS
        self._running = 0
        self._photos: deque[object] = deque()
        self._frames: deque[object] = deque()
        self._photo_went_last = False
        self._load = Load()
        self._changed = threading.Condition()

    @property
    def overloaded(self) -> bool:
        """Return whether most photos were refused over the last seconds."""
        with self._changed:
            self._load.note(self.full)
            return self._load.too_high

    @property
    def taken(self) -> bool:
        """Return whether a photo that came now would have to wait."""
        return self._running >= self._at_once

    @property
    def full(self) -> bool:
        """Return whether a photo that came now would be refused."""
        ahead = len(self._photos) + 1
        too_long = ahead * self._photo_seconds > self._queue_seconds * max(1, self._at_once)
        return self.taken and (too_long or ahead > MOST_QUEUED)

    @contextmanager
    def photo(self) -> Iterator[None]:
        """Hold a slot for a photo. Raises `RautError` with the code `busy` where too many wait."""
        with self._changed:
            if self.full:
                raise busy()
            self._wait(self._photos)
            self._photo_went_last = True
        began = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self._photo_seconds += (spent - self._photo_seconds) * WEIGHT_OF_LAST
            self._end()

    @contextmanager
    def frame(self) -> Iterator[None]:
        """Hold a slot for a live frame; its own socket never sends a second one meanwhile."""
        with self._changed:
            self._wait(self._frames)
            self._photo_went_last = False
        try:
            yield
        finally:
            self._end()

    def _wait(self, queue: deque[object]) -> None:
        ticket = object()
        queue.append(ticket)
        self._load.note(self.full)
        self._changed.wait_for(lambda: self._running < self._at_once and self._next() is ticket)
        queue.popleft()
        self._running += 1
        self._load.note(self.full)
        self._changed.notify_all()

    def _next(self) -> object:
        frame_goes = self._frames and (self._photo_went_last or not self._photos)
        return self._frames[0] if frame_goes else self._photos[0]

    def _end(self) -> None:
        with self._changed:
            self._running -= 1
            self._load.note(self.full)
            self._changed.notify_all()


class StreamSlots:
    """Count the live streams of this process, and those of each client."""

    def __init__(self, limit: int, limit_per_client: int) -> None:
        self._limit = limit
        self._limit_per_client = limit_per_client
        self._open: Counter[str] = Counter()

    @contextmanager
    def hold(self, client: str) -> Iterator[bool]:
        """Hold a slot for one stream of a client; yields False where all are taken.

        For the event loop's thread alone.
        """
        free = self._open.total() < self._limit and self._open[client] < self._limit_per_client
        self._open[client] += free
        try:
            yield free
        finally:
            self._open[client] -= free
            self._open += Counter()  # without clients that have none


def busy() -> RautError:
    """Refuse a photo that would have to wait too long."""
    return RautError(
        "busy",
        "The server is busy with other photos. Wait a few seconds and try again.",
        retry_after=RETRY_SECONDS,
    )
