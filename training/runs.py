"""Read and write a run: the folder that one training leaves.

It holds `recipe.json`, `command.txt` if a command fits it, `checkpoint.npz`, `history.csv` (a row
per epoch), `model.keras` once the training is finished, `best.keras` if the recipe keeps the best
epoch, and a report with curves.
Only `load_run` imports Keras.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from app.files import atomic_write, write_text
from training.recipe import DataError, Recipe, parse_recipe

if TYPE_CHECKING:
    import keras

MODEL = "model.keras"
BEST = "best.keras"
RECIPE = "recipe.json"
COMMAND = "command.txt"
HISTORY = "history.csv"
CHECKPOINT = "checkpoint.npz"
# The value of every variable, and the position as plain JSON values.
Checkpoint = tuple[list[np.ndarray], dict[str, Any]]
Row = dict[str, Any]  # an epoch's figures
History = list[Row]
LOGS = "logs"  # TensorBoard's event files


def read_recipe(run: Path) -> Recipe:
    """Read the recipe that a run was started with.

    Raises `DataError` if there is no run, `RecipeError` if the recipe isn't valid any more.
    """
    if not (run / RECIPE).is_file():
        raise DataError(f"{run} holds no training: {RECIPE} is not there.")
    return parse_recipe(json.loads((run / RECIPE).read_text(encoding="utf-8")))


def is_finished(run: Path) -> bool:
    """Return whether a run holds its recipe and the fitted network."""
    return (run / RECIPE).is_file() and (run / MODEL).is_file()


def load_run(run: Path) -> tuple[Recipe, keras.Model]:
    """Load a finished run's recipe and network: the best epoch's if the recipe keeps it.

    Raises `DataError` if the run isn't finished.
    """
    import keras

    if not (run / MODEL).is_file():
        raise DataError(f"{run} holds no finished training: {MODEL} is not there. Resume it first.")
    recipe = read_recipe(run)
    chosen = run / (BEST if recipe.schedule.keep_best else MODEL)
    return recipe, keras.saving.load_model(chosen, compile=False, safe_mode=True)


def save_network(network: keras.Model, path: Path) -> None:
    """Write a `.keras` file atomically: a run that has one counts as finished."""
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:  # Keras writes only to paths.
        made = Path(aside) / path.name
        network.save(made)
        atomic_write(path, lambda stream: stream.write(made.read_bytes()))


def write_csv(path: Path, rows: list[dict[str, Any]], missing: str = "") -> None:
    """Write rows as CSV, with the columns of all of them; `missing` stands for absent values."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list_columns(rows), restval=missing)
    writer.writeheader()
    writer.writerows(rows)
    write_text(text.getvalue(), path)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read a CSV file's rows by the names of their columns."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def list_columns(rows: list[dict[str, Any]]) -> list[str]:
    """List the keys of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def read_history(run: Path) -> History:
    """Read a run's history, a row per epoch, with its figures as floats."""
    return [{key: float(value) for key, value in row.items()} for row in read_csv(run / HISTORY)]


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Replace a run's checkpoint."""
    variables, position = checkpoint

    def write(stream: IO[bytes]) -> None:
        # One file holds both, so that the values always belong to the position.
        packed = np.frombuffer(json.dumps(position).encode(), np.uint8)
        values = {f"value_{index}": value for index, value in enumerate(variables)}
        np.savez(stream, allow_pickle=False, position=packed, **values)

    atomic_write(run / CHECKPOINT, write)


def load_checkpoint(run: Path) -> Checkpoint | None:
    """Read a run's checkpoint; None if it has none yet."""
    if not (run / CHECKPOINT).is_file():
        return None
    with np.load(run / CHECKPOINT, allow_pickle=False) as stored:
        position = json.loads(stored["position"].tobytes())
        values = [stored[f"value_{index}"] for index in range(len(stored.files) - 1)]
    return values, position
