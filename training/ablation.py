"""Fit a recipe again and again, each time without one of its switches, and compare."""

import csv
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from training.fitting import fit, is_finished, read_history
from training.recipes import Recipe, RecipeError, Section, change_recipe, load_recipe
from training.reports import write_table

ABLATIONS = Path(__file__).parent / "ablations"
WHOLE = "nothing"


class Ablation(Section):
    """Say what is compared: a recipe, changes for all of its trainings, and each variant's own."""

    recipe: str
    common: dict[str, Any] = Field(default_factory=dict)
    variants: dict[str, dict[str, Any]]


def load_ablation(name: str) -> Ablation:
    """Read an ablation by its name in training/ablations. Raises `RecipeError`."""
    path = ABLATIONS / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in ABLATIONS.glob("*.toml")))
        raise RecipeError(f"There is no ablation {name!r}. Choose one of {known}.")
    try:
        return Ablation.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise RecipeError(f"{path}: {error}") from error


def ablate(ablation: Ablation, command: str, runs: Path, results: Path) -> list[dict[str, Any]]:
    """Fit the recipe whole and without each switch; write `results.csv` and `report.md`.

    A training that is finished in `runs` is not repeated, one that was stopped goes on.
    Returns a row for each: what was left out, each head's last validation accuracy, the
    difference to the whole, and minutes. Raises `DataError` where a run is another recipe's.
    """
    recipe = change_recipe(load_recipe(ablation.recipe), ablation.common)
    variants = {WHOLE: recipe} | {
        name: change_recipe(recipe, changes) for name, changes in ablation.variants.items()
    }
    results.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name, variant in variants.items():
        run = runs / name.replace(" ", "-")
        if not is_finished(run, variant):
            fit(variant, run)
        rows.append(_compare(name, variant, read_history(run)[-1], rows))
        _write(rows, command, results)
    return rows


def _compare(
    name: str, recipe: Recipe, last: dict[str, Any], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return a variant's row, compared with the first one."""
    row: dict[str, Any] = {"left out": name}
    for head in recipe.heads:
        row[head] = last[f"validation_accuracy_{head}"]
        row[f"{head} lost"] = round(rows[0][head] - row[head], 4) if rows else 0.0
    return {**row, "minutes": round(last["seconds"] / 60, 1)}


def _write(rows: list[dict[str, Any]], command: str, results: Path) -> None:
    """Write the rows so far, so that a stopped ablation leaves what it found."""
    with (results / "results.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    cells = [[str(value) for value in row.values()] for row in rows]
    text = [
        "# What each switch is worth",
        f"`{command}`, one training each, on the validation part. A difference of 0.008 is "
        "within what chance does with 3,579 pictures (one standard error).",
        write_table(list(rows[0]), cells),
    ]
    (results / "report.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
