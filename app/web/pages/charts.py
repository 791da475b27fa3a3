"""Derive from a card's figures what its page draws, in the numbers that its tables also show."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.intervals import wilson_interval
from app.web.i18n import formats


@dataclass(frozen=True)
class ShareRow:
    """Hold one named share (0 to 1), its 95% interval and the count it was taken over."""

    name: str
    share: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class ClassRow:
    """Hold what a head is worth on one class; a share is None where nothing was counted."""

    name: str
    recall: ShareRow
    precision: ShareRow
    f1: float


@dataclass(frozen=True)
class Line:
    """Hold one line of a chart: points (x, y) in the data's own units."""

    name: str
    points: tuple[tuple[float, float], ...]


def describe_classes(confusion: list[list[int]], classes: Iterable[str]) -> list[ClassRow]:
    """Return each class's recall, precision and F1 from a confusion matrix, rows the labels."""
    rows = []
    for index, name in enumerate(classes):
        hit = confusion[index][index]
        recall = _share(name, hit, sum(confusion[index]))
        precision = _share(name, hit, sum(row[index] for row in confusion))
        together = recall.count + precision.count
        rows.append(ClassRow(name, recall, precision, 2 * hit / together if together else 0.0))
    return rows


def _share(name: str, right: int, count: int) -> ShareRow:
    low, high = wilson_interval(right, count)
    return ShareRow(name, right / count if count else 0.0, low, high, count)


def learning_curves(history: list[Mapping[str, Any]]) -> tuple[list[Line], list[Line]]:
    """Return the losses and the accuracies over the epochs, whatever columns there are."""
    keys = list(dict.fromkeys(key for row in history for key in row))
    return (
        [_curve(history, key) for key in keys if "loss" in key],
        [_curve(history, key) for key in keys if "accuracy" in key],
    )


def _curve(history: list[Mapping[str, Any]], key: str) -> Line:
    name = formats.data_string(key.replace("_", " "))
    rows = [row for row in history if row.get(key) not in (None, "")]
    return Line(name, tuple((float(row["epoch"]), float(row[key])) for row in rows))


def group_changes(
    rows: list[Mapping[str, Any]], grey: bool = False
) -> dict[str, list[Mapping[str, Any]]]:
    """Return the rows of each change of the pictures; of `grey` ones without that to grey."""
    left_out = {"grey"} if grey else set()
    changes = dict.fromkeys(row["change"] for row in rows if row["change"] not in left_out)
    return {change: [row for row in rows if row["change"] == change] for change in changes}


def risk_lines(sets: Mapping[str, list[Mapping[str, Any]]]) -> list[Line]:
    """Return one line for each set of faces: the share of right answers over that answered."""
    return [
        Line(
            formats.kind(name),
            tuple((100 * float(row["coverage"]), float(row["right"])) for row in rows),
        )
        for name, rows in sets.items()
    ]


# The drawing field of a line chart, in the units of its viewBox; the rest is for the labels.
LEFT, RIGHT, TOP, BOTTOM = 56.0, 508.0, 12.0, 228.0
SMALL_RIGHT = 300.0  # of charts that stand beside each other
MOST_TICKS = 6

Ranges = list[tuple[float, float]]  # from the least to the greatest value: of x, and of y


@dataclass(frozen=True)
class Tick:
    """Mark a value on an axis at a coordinate of the drawing."""

    at: float
    value: float


@dataclass(frozen=True)
class Plot:
    """Hold a line chart ready to draw: each line's path, the ticks of both axes, and its end."""

    paths: tuple[tuple[str, str], ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    right: float = RIGHT


def plot_histories(histories: Mapping[str, Mapping[str, list[float]]]) -> dict[str, list[Plot]]:
    """Plot the losses and the accuracies of each training; a line's name ends with its last value.

    All share the axes of epochs and accuracies. Each has its own of the loss: one outlier would
    press the lines of all others onto zero.
    """
    plots: dict[str, list[Plot]] = {name: [] for name in histories}
    for figure, write in (("loss", formats.figure), ("accuracy", formats.share)):
        lines = {
            name: [
                Line(
                    f"{formats.data_string(key.replace('_', ' '))} {write(values[-1])}",
                    tuple(enumerate(values, 1)),
                )
                for key, values in curves.items()
                if figure in key and values
            ]
            for name, curves in histories.items()
        }
        ranges = find_ranges(line for each in lines.values() for line in each)
        for name, each in lines.items():
            own = [ranges[0], *find_ranges(each)[1:]] if figure == "loss" and each else ranges
            if plot := plot_lines(each, own, SMALL_RIGHT):
                plots[name].append(plot)
    return plots


def find_ranges(lines: Iterable[Line]) -> Ranges:
    """Return the least and the greatest x, and those of y; empty where there is no point."""
    points = [point for line in lines for point in line.points]
    return [(min(values), max(values)) for values in zip(*points, strict=True)]


def plot_lines(
    lines: Iterable[Line], ranges: Ranges | None = None, right: float = RIGHT
) -> Plot | None:
    """Lay lines out in one drawing field; None where there is nothing to draw.

    The axes cover the ranges of x and y, by default those of the lines.
    """
    drawn = [line for line in lines if line.points]
    if not drawn:
        return None
    xs, ys = ranges or find_ranges(drawn)
    x_ticks, y_ticks = choose_ticks(*xs), choose_ticks(*ys)
    x_range = min(xs[0], x_ticks[0]), max(xs[1], x_ticks[-1])
    y_range = min(ys[0], y_ticks[0]), max(ys[1], y_ticks[-1])

    def across(x: float) -> float:
        return round(_between(x, *x_range, LEFT, right), 1)

    def up(y: float) -> float:
        return round(_between(y, *y_range, BOTTOM, TOP), 1)

    return Plot(
        tuple((line.name, _path([(across(x), up(y)) for x, y in line.points])) for line in drawn),
        tuple(Tick(across(value), value) for value in x_ticks),
        tuple(Tick(up(value), value) for value in y_ticks),
        right,
    )


def choose_ticks(low: float, high: float) -> list[float]:
    """Return round values across a range: steps of 1, 2 or 5 times a power of ten."""
    span = (high - low) or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / MOST_TICKS))
    step = next(n * power for n in (1, 2, 5, 10) if span / (n * power) <= MOST_TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, max(first, last) + 1)]


def _between(value: float, low: float, high: float, start: float, end: float) -> float:
    return start + (end - start) * ((value - low) / (high - low) if high > low else 0.5)


def _path(points: list[tuple[float, float]]) -> str:
    first, *others = points
    return f"M{first[0]} {first[1]}" + "".join(f"L{x} {y}" for x, y in others or [first])
