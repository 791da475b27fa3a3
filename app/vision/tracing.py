"""Time the stages of an analysis, and keep what each hands on for the steps page."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.vision.budget import Budget


@dataclass(frozen=True)
class Stage:
    """Hold a stage's name, the model that ran in it (or ""), its values and milliseconds."""

    name: str
    model: str
    values: dict[str, Any]
    milliseconds: float


class Trace:
    """Time the stages of one image; with `keep`, collect their values in order.

    No stage begins after the `budget` has ended: `timed` and `add` raise what it does.
    """

    def __init__(self, keep: bool = False, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self.stages: list[Stage] = []
        self._keep = keep
        self._started = self._since = time.perf_counter()
        self._timings = {"decode": 0.0}

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time the `with` block under a name of `timings_ms`."""
        self.budget.check()
        started = time.perf_counter()
        yield
        self._timings[name] = (time.perf_counter() - started) * 1000

    def set_time(self, name: str, milliseconds: float) -> None:
        """Set a name of `timings_ms` that was timed elsewhere."""
        self._timings[name] = milliseconds

    def timings_ms(self) -> dict[str, float]:
        """Return the milliseconds of each timed block and in total, until now."""
        return {**self._timings, "total": (time.perf_counter() - self._started) * 1000}

    def add(
        self, name: str, model: str = "", milliseconds: float | None = None, **values: Any
    ) -> None:
        """Add a stage that ends now; by default it lasted since the last one."""
        self.budget.check()
        if self._keep:
            if milliseconds is None:
                milliseconds = (time.perf_counter() - self._since) * 1000
            self.stages.append(Stage(name, model, values, milliseconds))
            self._since = time.perf_counter()

    def find(self, name: str, model: str = "") -> Stage | None:
        """Return the first stage of a name and model, if the analysis reached it."""
        named = (each for each in self.stages if (each.name, each.model) == (name, model))
        return next(named, None)
