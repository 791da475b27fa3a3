"""Check a data set before anybody trains on it."""

from collections import defaultdict
from pathlib import Path

from training.data import (
    PARTS,
    DataError,
    digest_picture,
    list_classes,
    list_pictures,
    read_picture,
)


def inspect(folder: Path) -> tuple[dict[str, dict[str, int]], list[str]]:
    """Count a data set's pictures by part and class, and list what is wrong with it.

    Wrong are empty classes, parts with different classes, pictures that can't be read, that
    stand in two parts, or that carry two labels. Raises `DataError` where there is no part.
    """
    parts = [part for part in PARTS if (folder / part).is_dir()]
    if not parts:
        raise DataError(f"{folder} has none of the folders {', '.join(PARTS)}.")
    counts: dict[str, dict[str, int]] = {}
    faults: list[str] = []
    places: dict[str, list[tuple[str, str, Path]]] = defaultdict(list)
    for part in parts:
        counts[part] = {}
        for name in list_classes(folder, part):
            files = list_pictures(folder / part / name)
            counts[part][name] = len(files)
            if not files:
                faults.append(f"The class {name!r} is empty in {part}.")
            for file in files:
                try:
                    places[digest_picture(read_picture(file))].append((part, name, file))
                except DataError as error:
                    faults.append(f"Unreadable: {error}")
    if len({tuple(classes) for classes in counts.values()}) > 1:
        faults.append("The parts have different classes.")
    faults += _count_repeats(list(places.values()))
    return counts, faults


def _count_repeats(places: list[list[tuple[str, str, Path]]]) -> list[str]:
    """Say how many pictures stand in two parts, or under two labels, with an example of each."""
    faults = []
    for text, field in (("in two parts", 0), ("under two labels", 1)):
        repeated = [found for found in places if len({place[field] for place in found}) > 1]
        if repeated:
            example = " and ".join(str(place[2]) for place in repeated[0][:2])
            faults.append(f"{len(repeated)} pictures stand {text}, such as {example}.")
    return faults
