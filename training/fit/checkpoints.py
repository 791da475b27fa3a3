"""Save all that a training needs to go on as if it had never stopped."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from app.files import atomic_write

CHECKPOINT = "checkpoint.npz"


@dataclass(frozen=True)
class Checkpoint:
    """Hold a run's state: every variable's value, and the position as plain JSON values."""

    values: list[np.ndarray]
    position: dict[str, Any]


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Replace a run's checkpoint."""

    def write(stream: IO[bytes]) -> None:
        # One file holds both, so that the values always belong to the position.
        position = np.frombuffer(json.dumps(checkpoint.position).encode(), np.uint8)
        values = {f"value_{index}": value for index, value in enumerate(checkpoint.values)}
        np.savez(stream, allow_pickle=False, position=position, **values)

    atomic_write(run / CHECKPOINT, write)


def load_checkpoint(run: Path) -> Checkpoint | None:
    """Read a run's checkpoint; None where it has none yet."""
    if not (run / CHECKPOINT).is_file():
        return None
    with np.load(run / CHECKPOINT, allow_pickle=False) as stored:
        position = json.loads(stored["position"].tobytes())
        values = [stored[f"value_{index}"] for index in range(len(stored.files) - 1)]
    return Checkpoint(values, position)
