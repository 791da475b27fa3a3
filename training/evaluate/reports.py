"""Plot figures, and write the reports of models and runs."""

from pathlib import Path
from typing import Any

import cv2
import jinja2
import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from app.files import write_text
from app.markdown import markdown_table, percent
from app.vision.models.cards import ONE_CLASS, Card
from app.vision.models.files import FILES
from app.vision.models.weaknesses import weakness_in_english
from training.evaluate.subgroups import ALL
from training.recipe import Recipe, parse_recipe
from training.runs import History, Row

FIGURES = "figures"
TEMPLATE = "README.md.jinja"
CHARTS = ("curves", "confusion", "reliability")
NEEDED_MINUTES = "needed_minutes"  # on a card: training minutes of its teachers and of theirs
TEACHERS = "teachers"  # on a card: the figures of each teacher
GROUP_AXES = ("age", "race", "gender")


def write_model_report(folder: Path, card: Card) -> None:
    """Write the figures and README.md of a model folder from its card."""
    figures = folder / FIGURES
    figures.mkdir(exist_ok=True)
    own, head = card.figures["heads"][card.default_head], card.heads[card.default_head]
    plot_curves(card.figures["history"], figures / "curves.png")
    if head.targets in ONE_CLASS:
        plot_reliability(own["reliability"], figures / "reliability.png")
        plot_confusion(np.array(own["confusion"]), head.labels, figures / "confusion.png")
    if risks := card.figures.get("risk_coverage"):
        plot_risks(risks, figures / "risk.png")
    (folder / "README.md").write_text(render_readme(card), encoding="utf-8")


def write_run_report(run: Path, recipe: Recipe, history: History, best: Row) -> None:
    """Write a finished run's curves and `report.md`: the recipe, the best and the last epoch."""
    plot_curves(history, run / "curves.png")
    kept = "both of which are kept" if recipe.schedule.keep_best else "which is kept"
    titles = list(history[0])
    rows = [[str(row[title]) for title in titles] for row in (best, history[-1])]
    write_sections(
        run / "report.md",
        f"# {recipe.name}",
        f"{len(history)} epochs in {history[-1]['seconds'] / 60:.1f} minutes. "
        f"The best epoch by {recipe.name_figure(recipe.best_by)}, and the last one, {kept}:",
        markdown_table(rows, titles),
        "![curves](curves.png)",
        f"```json\n{recipe.model_dump_json(indent=2)}\n```",
    )


def write_sections(path: Path, *sections: str) -> None:
    """Write a report in Markdown, its sections apart by empty lines."""
    write_text("\n\n".join(sections) + "\n", path)


def plot_curves(rows: History, path: Path) -> None:
    """Plot loss and accuracy over the epochs of a run's history.

    Training accuracy and validation loss are plotted where the history has them.
    """
    epochs = [int(row["epoch"]) for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for key in rows[0]:
        split, is_accuracy, head = key.rpartition("accuracy_")
        values = [row[key] for row in rows]
        if is_accuracy:
            right.plot(epochs, values, label=f"{head}, {split.removesuffix('_') or 'training'}")
        elif key in ("loss", "validation_loss"):
            left.plot(epochs, values, label="training" if key == "loss" else "validation")
    for axes, name in ((left, "loss"), (right, "accuracy")):
        axes.set(xlabel="epoch", ylabel=name)
        if axes.lines:  # a network of maps has no accuracy
            axes.legend()
    save_figure(figure, path)


def plot_reliability(bins: list[dict[str, float]], path: Path) -> None:
    """Plot a reliability diagram; a point's area is its bin's share of the predictions."""
    keys = ("share", "probability", "right")
    shares, means, hits = (np.array([each[key] for each in bins]) for key in keys)
    figure, axes = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.scatter(means, hits, s=600 * shares)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability", ylabel="share that is right")
    save_figure(figure, path)


def plot_confusion(confusion: np.ndarray, classes: list[str], path: Path) -> None:
    """Plot a confusion matrix whose rows are shares of each true class."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(4.4, 4), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        color = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(classes)), classes, rotation=45)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="answered", ylabel="labelled")
    save_figure(figure, path)


def plot_risks(sets: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Plot the share of right answers over the share of faces answered, a line for each set."""
    figure, axes = plt.subplots(figsize=(4.4, 3.4), layout="constrained")
    for name, rows in sets.items():
        axes.plot([row["coverage"] for row in rows], [row["right"] for row in rows], label=name)
    axes.set(xlabel="share answered", ylabel="share that is right")
    axes.legend()
    save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure to a file and close it."""
    figure.savefig(path, dpi=90)
    plt.close(figure)


def write_sheet(tiles: list[np.ndarray], per_row: int, path: Path) -> None:
    """Write pictures of one size, BGR uint8, as rows of one PNG; nothing where there is none."""
    if not tiles:
        return
    padded = np.stack(tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % per_row))
    rows = padded.reshape(-1, per_row, *tiles[0].shape)
    cv2.imwrite(str(path), np.vstack([np.hstack(row) for row in rows]))


def render_readme(card: Card) -> str:
    """Return a model's README.md in Markdown, from its card."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # nosec B701: Markdown, from our own cards
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "weakness": weakness_in_english}
    return environment.get_template(TEMPLATE).render(
        card=card,
        classes=_list_classes(card),
        groups=list_single_groups(card.figures["groups"]),
        builds_on_unknown=builds_on_unknown(card.training),
        int8_file=FILES["int8"],
        body_file=FILES["body"],
        charts=CHARTS if card.heads[card.default_head].targets in ONE_CLASS else CHARTS[:1],
        folder=FIGURES,
    )


def builds_on_unknown(training: dict[str, Any]) -> bool:
    """Return whether a card's training needed other models and doesn't say how long they took."""
    return bool(parse_recipe(training["recipe"]).needed_models) and NEEDED_MINUTES not in training


def _list_classes(card: Card) -> list[dict[str, Any]]:
    return [
        {
            "head": name,
            "label": label,
            "count": sum(figures["confusion"][index]),
            "recall": recall,
            "recall_interval": figures["recall_interval"][label],
            "precision": figures["precision"][label],
        }
        for name, figures in card.figures["heads"].items()
        for index, label in enumerate(card.heads[name].labels)
        if (recall := figures.get("recall", {}).get(label)) is not None
    ]


def list_single_groups(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """List the groups that only one axis narrows, with that axis and their label on it."""
    return [
        {**group, "axis": axis, "label": group[axis]}
        for axis in GROUP_AXES
        for group in groups
        if [other for other in GROUP_AXES if group[other] != ALL] == [axis]
    ]
