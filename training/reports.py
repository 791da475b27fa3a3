"""Draw and write what a model is worth."""

import csv
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from app.vision.cards import Card
from app.vision.classifiers import read_probabilities
from training.data import Part
from training.evaluation import right_answers
from training.metrics import reliability

FIGURES = "figures"


def write_model_report(
    folder: Path, card: Card, history: Path, logits: dict[str, np.ndarray], part: Part
) -> None:
    """Write the figures and README.md of a model folder."""
    figures = folder / FIGURES
    figures.mkdir(exist_ok=True)
    draw_curves(history, figures / "curves.png")
    head = card.heads[card.answers]
    labels = right_answers(head, part)
    classes, probabilities = read_probabilities(head, logits[card.answers])
    counted = labels >= 0
    right = probabilities[counted].argmax(axis=1) == labels[counted]
    draw_reliability(reliability(probabilities[counted], right), figures / "reliability.png")
    confusion = np.array(card.figures["heads"][card.answers]["confusion"])
    draw_confusion(confusion, classes, figures / "confusion.png")
    (folder / "README.md").write_text(_describe(card), encoding="utf-8")


def draw_curves(history: Path, path: Path) -> None:
    """Draw loss and validation figures over the epochs."""
    with history.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    epochs = [int(row["epoch"]) for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(epochs, [float(row["loss"]) for row in rows])
    left.set(xlabel="epoch", ylabel="training loss")
    for key in rows[0]:
        if key.startswith("validation_accuracy"):
            head = key.removeprefix("validation_accuracy_")
            right.plot(epochs, [float(row[key]) for row in rows], label=head)
    right.set(xlabel="epoch", ylabel="validation accuracy")
    right.legend()
    _save(figure, path)


def draw_reliability(bins: list[tuple[float, float, float]], path: Path) -> None:
    """Draw how often answers of each probability are right, the area by how many there are."""
    shares, means, hits = (np.array(values) for values in zip(*bins, strict=True))
    figure, axes = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.scatter(means, hits, s=600 * shares)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="probability", ylabel="share that is right")
    _save(figure, path)


def draw_confusion(confusion: np.ndarray, classes: list[str], path: Path) -> None:
    """Draw a confusion matrix, its rows as shares of each true class."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    figure, axes = plt.subplots(figsize=(4.4, 4), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        color = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(len(classes)), classes, rotation=45)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="answered", ylabel="labelled")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """Write a figure and let it go."""
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _describe(card: Card) -> str:
    """Write a model's page from its card."""
    lines = [
        f"# {card.name}",
        "",
        card.purpose,
        "",
        f"**Not for:** {card.not_for}",
        "",
        f"Takes a uint8 crop of {card.size} x {card.size} x {card.channels}, cut with a margin of "
        f"{card.margin}. Data: {card.data['source']} ({card.data['licence']}).",
        "",
        f"Rebuilt by `{card.training['command']}` "
        f"({card.training['minutes']} minutes of training).",
        "",
        f"On the validation part (`{card.figures['command']}`):",
        "",
        "| head | pictures | accuracy (95% interval) | macro-F1 | calibration error | "
        "right when answered | unanswered |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, figures in card.figures["heads"].items():
        if card.heads[name].targets == "places":
            continue
        low, high = figures["accuracy_interval"]
        answered = figures["accuracy_of_answers_given"]
        lines.append(
            f"| {name} | {figures['count']} | {figures['accuracy']:.1%} ({low:.1%} to {high:.1%}) "
            f"| {figures['macro_f1']:.3f} | {figures['calibration_error']:.1%} | "
            f"{'none' if answered is None else format(answered, '.1%')} | "
            f"{figures['unanswered']:.1%} |"
        )
    lines += [
        "",
        *(
            f"Median errors of {name}: centre {figures['centre']:.1%} of the side, size "
            f"{figures['size']:.1%}, roll {figures['roll']:.1f}°."
            for name, figures in card.figures["heads"].items()
            if card.heads[name].targets == "places"
        ),
    ]
    recalls = card.figures["heads"][card.answers]["recall"]
    weakest = min(recalls, key=lambda name: recalls[name])
    lines += [
        "",
        f"Weakest class: {weakest}, of which {recalls[weakest]:.0%} are found.",
        "",
        *(f"![{name}]({FIGURES}/{name}.png)" for name in ("curves", "confusion", "reliability")),
        "",
        "Written by `python -m training export`; don't edit.",
    ]
    return "\n".join(lines) + "\n"
