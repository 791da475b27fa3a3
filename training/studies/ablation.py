"""Ablate a recipe: fit it repeatedly, each time without one of its switches, and compare."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from app.markdown import markdown_table
from app.vision.imaging.crops import CropShape
from app.vision.models.classifiers import join_heads, read_answers
from training.datasets.experiment import Experiment, list_heads, read_validation
from training.datasets.loading import Split
from training.evaluate import Heads
from training.evaluate.network import choose_batch, true_labels
from training.evaluate.reports import write_sections
from training.evaluate.robustness import measure_robustness
from training.export.exporting import describe_heads
from training.fit.trainer import fit
from training.recipe import Recipe, StrictModel, change_recipe, load_recipe, read_toml, validate
from training.runs import is_finished, load_run, read_history, write_csv

ABLATIONS = Path(__file__).parent / "ablations"
WHOLE = "nothing"
CHANGED_COUNT = 1200  # pictures for the robustness, each changed in two dozen ways
# A difference is significant beyond this many standard errors: among some dozens of differences
# without an effect, about three exceed two of them.
SIGNIFICANT_ERRORS = 3.0

Scores = dict[str, np.ndarray]


class Ablation(StrictModel):
    """Hold what is compared: a recipe, changes for all trainings, and those of each variant."""

    recipe: str
    common: dict[str, Any] = Field(default_factory=dict)
    seeds: list[int] = Field(default_factory=list)  # of further trainings of the whole recipe
    notes: list[str] = Field(default_factory=list)  # sentences for the report
    variants: dict[str, dict[str, Any]]


def load_ablation(name: str) -> Ablation:
    """Read an ablation by its name in training/studies/ablations. Raises `RecipeError`."""
    return validate(Ablation, read_toml(ABLATIONS / f"{name}.toml", "ablation", ABLATIONS))


def ablate(ablation: Ablation, command: str, runs: Path, results: Path) -> list[dict[str, Any]]:
    """Fit the recipe whole and without each switch; write `results.csv` and `report.md`.

    Trainings in `runs` are resumed, or kept if finished. Returns a row for each: what was left out,
    minutes, and for each figure of `score_network` its mean over the validation split, the loss
    against the whole recipe, and its standard error. Raises `DataError` for another recipe's run.
    """
    recipe = change_recipe(load_recipe(ablation.recipe), ablation.common)
    seeds = {f"{WHOLE}, seed {seed}": {"seed": seed} for seed in ablation.seeds}
    changes: dict[str, dict[str, Any]] = {WHOLE: {}, **seeds, **ablation.variants}
    variants = {name: change_recipe(recipe, changed) for name, changed in changes.items()}
    results.mkdir(parents=True, exist_ok=True)
    validation = read_validation(recipe)
    whole: Scores = {}
    rows: list[dict[str, Any]] = []
    for name, variant in variants.items():
        run = runs / name.replace(" ", "-")
        experiment = Experiment(variant, run)
        if not is_finished(run):
            fit(experiment)
        scores = score_network(variant, run, validation)
        whole = whole or scores
        minutes = round(read_history(run)[-1]["seconds"] / 60, 1)
        rows.append({"left out": name, "minutes": minutes, **_compare(whole, scores)})
        _write(ablation, list(scores), rows, command, results)
    return rows


def score_network(recipe: Recipe, run: Path, validation: Split) -> Scores:
    """Score a finished run's prediction for each validation picture: float (count,) per figure.

    Each head has 1 for a right prediction and 0 for a wrong one, over the pictures with a known
    label. The default head also has scores with equal weights of the classes (balanced), and for
    some pictures the share of right ones over the changes of `measure_robustness` (changed).
    """
    _, network = load_run(run)
    heads = describe_heads(recipe, list_heads(recipe, validation), validation)
    judged = _judge(network, heads, validation).items()
    scores = {name: right[~np.isnan(right)] for name, right in judged}
    default = recipe.default_head
    labels = true_labels(heads[default], validation)
    labels = labels[labels >= 0]
    counts = np.bincount(labels)
    shares = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    scores[f"{default} (balanced)"] = scores[default] * shares[labels]
    every = -(-len(validation.labels) // CHANGED_COUNT)
    some = validation.subset(np.arange(0, len(validation.labels), every))

    shape = CropShape(recipe.data.size, recipe.data.channels)
    _, *rows = measure_robustness(
        some.pictures, shape, lambda crops: _judge(network, heads, replace(some, pictures=crops))
    )
    right = np.mean([row[default] for row in rows], axis=0)
    scores[f"{default} (changed)"] = right[~np.isnan(right)]
    return scores


def _judge(network: Any, heads: Heads, split: Split) -> Scores:
    batch = choose_batch(split.pictures)
    logits = join_heads(heads, network.predict(split.pictures, batch_size=batch, verbose=0))
    judged: Scores = {}
    for name, head in heads.items():
        labels = true_labels(head, split)
        right = (read_answers(head, logits[name]).argmax(axis=1) == labels).astype(float)
        judged[name] = np.where(labels >= 0, right, np.nan)
    return judged


def _compare(whole: Scores, scores: Scores) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, values in scores.items():
        row[name] = round(float(values.mean()), 4)
        differences = whole[name] - values
        row[f"{name}: lost"] = round(float(differences.mean()), 4)
        error = differences.std(ddof=1) / np.sqrt(len(differences))
        row[f"{name}: error"] = round(float(error), 4)
    return row


def _write(
    ablation: Ablation, figures: list[str], rows: list[dict[str, Any]], command: str, results: Path
) -> None:
    write_csv(results / "results.csv", rows)
    # The largest change of each figure by another seed; 0 without other seeds.
    spreads = {
        name: max(abs(row[f"{name}: lost"]) for row in rows[: 1 + len(ablation.seeds)])
        for name in figures
    }
    cells = []
    for row in rows:
        shares = (_write_figure(name, row, is_whole=row is rows[0]) for name in figures)
        judged = _judge_switch(figures, row, spreads)
        cells.append([row["left out"], *shares, judged, row["minutes"]])
    chance = ", ".join(f"{name} {100 * spread:.1f}" for name, spread in spreads.items())
    write_sections(
        results / "report.md",
        "# Effect of each switch",
        f"`{command}`, one training per row, measured on the validation split. In brackets: the "
        "difference to the whole recipe in points, with its standard error on the same pictures.",
        "A switch helps or harms a figure if the difference is larger than "
        f"{SIGNIFICANT_ERRORS:.0f} standard errors and than what other seeds changed of it "
        f"(in points: {chance}). For the others one training is not enough to say.",
        *ablation.notes,
        markdown_table(cells, ["left out", *figures, "the switch", "minutes"]),
    )


def _write_figure(name: str, row: dict[str, Any], is_whole: bool) -> str:
    share = f"{row[name]:.1%}"
    if is_whole:
        return share
    return f"{share} ({-100 * row[f'{name}: lost']:+z.1f} ± {100 * row[f'{name}: error']:.1f})"


def _judge_switch(figures: list[str], row: dict[str, Any], spreads: dict[str, float]) -> str:
    found: dict[str, list[str]] = {"helps": [], "harms": []}
    for name in figures:
        lost = row[f"{name}: lost"]
        if abs(lost) > max(SIGNIFICANT_ERRORS * row[f"{name}: error"], spreads[name]):
            found["helps" if lost > 0 else "harms"].append(name)
    return "; ".join(f"{word} {', '.join(names)}" for word, names in found.items() if names)
