"""Bound the time of one analysis, which also ends when nobody waits for it any more."""

import math
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from app.errors import RautError

Item = TypeVar("Item")


class Budget:
    """Hold the deadline of an analysis; any thread may cancel it.

    The stages call `check` at least every one or two seconds of work. The time includes that in
    which the thread waits for a processor.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        """Start now; by default there is all the time."""
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._cancelled = False

    def cancel(self) -> None:
        """Make the next `check` end the analysis, as its client left."""
        self._cancelled = True

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, with a `check` before each."""
        for item in items:
            self.check()
            yield item

    def check(self) -> None:
        """Raise `RautError` with the code `cancelled` or `analysis_timeout` where it has ended."""
        if self._cancelled:
            raise RautError("cancelled", "Nobody waits for this answer any more.")
        if time.monotonic() > self._deadline:
            raise RautError(
                "analysis_timeout",
                f"The photo was not read within {self._seconds:g} seconds. Send a smaller copy, "
                "choose a lower effort, or try again when the server is less busy.",
                limit_seconds=self._seconds,
            )
