"""Measure accuracy by subgroup: age band, race label and gender."""

from itertools import product
from typing import Any

import numpy as np

from training.datasets.loading import AGE_BANDS, RACES, Split, read_ages, read_races
from training.evaluate.metrics import measure_given

ALL = "all"


def measure_subgroups(split: Split, right: np.ndarray, given: np.ndarray) -> list[dict[str, Any]]:
    """Return the accuracy of each cell of age band, race label and gender, "all" among each.

    `right` and `given` are bool (count,): whether a prediction is right, and whether it reaches its
    threshold. Each cell has the figures of `measure_given`; cells without a face are left out.
    Empty if the file names have no ages.
    """
    ages, races = read_ages(split.files), read_races(split.files)
    if (ages < 0).all():
        return []
    bands = np.digitize(ages, list(AGE_BANDS.values()))
    axes = {
        "age": _axis(bands, tuple(AGE_BANDS)),
        "race": _axis(races, RACES),
        "gender": _axis(split.labels, split.classes),
    }
    cells = []
    for combination in product(*axes.values()):
        names, masks = zip(*combination, strict=True)
        chosen = np.logical_and.reduce(masks)
        if chosen.any():
            named = dict(zip(axes, names, strict=True))
            cells.append({**named, **measure_given(right[chosen], given[chosen])})
    return cells


def _axis(values: np.ndarray, names: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    overall = (ALL, np.ones(len(values), dtype=bool))
    return [overall, *((name, values == index) for index, name in enumerate(names))]
