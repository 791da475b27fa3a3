"""Time code, and summarize the times."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

Summary = dict[str, float]


def repeat(work: Callable[[], object], rounds: int) -> Summary:
    """Time some work in milliseconds, after one warm-up round."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return summarize(times[1:])


def summarize(values: Sequence[float]) -> Summary:
    """Return the median and the quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "low": float(low), "high": float(high), "count": len(values)}


def summarize_rows(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
) -> dict[str, dict[str, Summary]]:
    """Summarize each cell of a table."""
    return {
        name: {key: summarize(values) for key, values in row.items()} for name, row in rows.items()
    }


def fit_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the slope of a line fitted to the logarithms by least squares."""
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
