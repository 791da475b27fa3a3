"""Time work, and put figures in short."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np


def repeat(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Time some work in milliseconds, after once not counted."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return summarize(times[1:])


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "low": float(low), "high": float(high), "count": len(values)}


def fit_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Fit a line through the logarithms by least squares; returns its slope."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def first_core() -> int:
    """Return the first processor that this process may run on."""
    return min(os.sched_getaffinity(0))


@contextmanager
def pinned() -> Iterator[None]:
    """Keep this process on one core, as the drivers are."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {first_core()})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
