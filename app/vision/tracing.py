"""Keep what the call list hands from stage to stage, for whoever wants to look at it."""

import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """Hold one stage: its name, the model at work if one is, its values and milliseconds."""

    name: str
    model: str
    values: dict[str, Any]
    milliseconds: float


class Trace:
    """Collect the stages of one photo, in their order."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self._since = time.perf_counter()

    def add(
        self, name: str, model: str, values: dict[str, Any], milliseconds: float | None = None
    ) -> None:
        """Add a stage that ends now, unless its time is told; the next begins when it is kept."""
        if milliseconds is None:
            milliseconds = (time.perf_counter() - self._since) * 1000
        self.stages.append(Stage(name, model, values, milliseconds))
        self._since = time.perf_counter()

    def find(self, name: str, model: str = "") -> Stage | None:
        """Return the first stage of a name and model, if the photo came to it."""
        named = (each for each in self.stages if (each.name, each.model) == (name, model))
        return next(named, None)


def record(
    trace: Trace | None,
    name: str,
    model: str = "",
    milliseconds: float | None = None,
    **values: Any,
) -> None:
    """Add a stage to a trace, where one is wanted."""
    if trace is not None:
        trace.add(name, model, values, milliseconds)
