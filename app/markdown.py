"""Write Markdown tables and the shares in them."""

import math
from collections.abc import Iterable, Sequence


def markdown_table(rows: Iterable[Iterable[object]], columns: Sequence[str]) -> str:
    """Return a Markdown table of rows with one value for each column; None gives an empty cell."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        f"| {' | '.join('' if cell is None else str(cell) for cell in line)} |" for line in lines
    )


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share (0 to 1) as a percentage; an empty string for None and NaN."""
    return "" if share is None or math.isnan(share) else f"{share:.{digits}%}"
