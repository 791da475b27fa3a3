"""Recompute the figures and limits on every card from the data, and list where they differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.vision.models.cards import CARD, load_card
from training.evaluate.card_metrics import SPEED, calibrate_model, measure_model
from training.recipe import DataError

# Allowed difference between processors: one prediction in a thousand changes.
TOLERANCE = 0.001
# A threshold is the probability of one picture, and the next one may be this far away;
# temperatures and energies follow the rounding of all.
LIMIT_TOLERANCE = 0.05
NOT_COMPARED = (SPEED, "weaknesses")  # depend on the machine, or on the other figures


def verify_models(models: Path) -> Iterator[str]:
    """Measure each model folder again; yield a sentence for each figure or limit that differs.

    Raises `DataError` for missing models or data, `ModelError` for files that differ from the card.
    """
    folders = sorted(path.parent for path in models.glob(f"*/{CARD}"))
    if not folders:
        raise DataError(f"{models} holds no models: no {CARD} in any folder of it.")
    for folder in folders:
        card = load_card(folder)
        if card.labels:  # taught: its samples were not kept
            continue
        for name, value in measure_model(folder).items():
            if name not in NOT_COMPARED:
                yield from _compare(f"{folder.name}: {name}", card.figures.get(name), value)
        again = calibrate_model(folder)
        for name, head in card.heads.items():
            limits = (head.model_dump(), again.heads[name].model_dump())
            yield from _compare(f"{folder.name}: {name}", *limits, LIMIT_TOLERANCE)
        seen = (card.model_dump()["visibility"], again.model_dump()["visibility"])
        yield from _compare(f"{folder.name}: visibility", *seen, LIMIT_TOLERANCE)


def _compare(path: str, written: Any, measured: Any, tolerance: float = TOLERANCE) -> Iterator[str]:
    if isinstance(measured, dict) and isinstance(written, dict):
        for key in sorted(written.keys() | measured.keys()):
            yield from _compare(f"{path}.{key}", written.get(key), measured.get(key), tolerance)
    elif isinstance(measured, list) and isinstance(written, list) and len(measured) == len(written):
        for index, values in enumerate(zip(written, measured, strict=True)):
            yield from _compare(f"{path}[{index}]", *values, tolerance)
    elif isinstance(measured, (int, float)) and isinstance(written, (int, float)):
        # A count, as of a confusion matrix, may differ by one prediction.
        allowed = 1 if isinstance(measured, int) else tolerance
        if abs(written - measured) > allowed:
            yield f"{path} is {measured} and was {written}."
    elif written != measured:
        yield f"{path} is {measured!r} and was {written!r}."
