"""Recompute the figures and limits on every card from the data, and list where they differ."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.vision.models.cards import CARD, load_card
from training.evaluate.card_metrics import SPEED, calibrate_model, measure_model
from training.recipe import DataError

# What a run on another processor may differ by: one answer in a thousand on the border.
TOLERANCE = 0.001
# A limit lies at the probability of one picture, and the next one may be so far away; temperatures
# and energies follow the rounding of all.
LIMIT_TOLERANCE = 0.05
# The machine's, words made of the other figures, and what is called by the folder's place.
NOT_COMPARED = (SPEED, "weaknesses", "command")


def verify_models(models: Path) -> Iterator[str]:
    """Measure each model folder anew; yield a sentence for each figure or limit that differs.

    Raises `DataError` where there is no model, or data is missing, and `ModelError` for a file
    that its card doesn't describe.
    """
    folders = sorted(path.parent for path in models.glob(f"*/{CARD}"))
    if not folders:
        raise DataError(f"{models} holds no models: no {CARD} in any folder of it.")
    for folder in folders:
        card = load_card(folder)
        for name, value in measure_model(folder).items():
            if name not in NOT_COMPARED:
                yield from _compare(f"{folder.name}: {name}", card.figures.get(name), value)
        heads = calibrate_model(folder)
        for name, head in card.heads.items():
            limits = (head.model_dump(), heads[name].model_dump())
            yield from _compare(f"{folder.name}: {name}", *limits, LIMIT_TOLERANCE)


def _compare(
    place: str, written: Any, measured: Any, tolerance: float = TOLERANCE
) -> Iterator[str]:
    if isinstance(measured, dict) and isinstance(written, dict):
        for key in sorted(written.keys() | measured.keys()):
            yield from _compare(f"{place}.{key}", written.get(key), measured.get(key), tolerance)
    elif isinstance(measured, list) and isinstance(written, list) and len(measured) == len(written):
        for index, values in enumerate(zip(written, measured, strict=True)):
            yield from _compare(f"{place}[{index}]", *values, tolerance)
    elif isinstance(measured, (int, float)) and isinstance(written, (int, float)):
        # A count, as of a confusion matrix, may differ by an answer that changed sides.
        allowed = 1 if isinstance(measured, int) else tolerance
        if abs(written - measured) > allowed:
            yield f"{place} is {measured} and was {written}."
    elif written != measured:
        yield f"{place} is {measured!r} and was {written!r}."
