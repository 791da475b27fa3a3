"""Draw and write what a model is worth."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from app.vision.models.cards import Card
from app.vision.models.classifiers import FILES
from training.datasets.loading import CHILDREN_BANDS
from training.evaluate.subgroups import EVERYBODY
from training.recipe import Recipe, parse_recipe

FIGURES = "figures"
CHARTS = ("curves", "confusion", "reliability")
NEEDED_MINUTES = "needed_minutes"  # on a card: what its teachers and their teachers took
TEACHERS = "teachers"  # on a card: what each teacher is worth, so what smallness costs
GROUP_AXES = ("age", "race", "gender")


def write_model_report(folder: Path, card: Card) -> None:
    """Write the figures and README.md of a model folder from its card."""
    figures = folder / FIGURES
    figures.mkdir(exist_ok=True)
    own = card.figures["heads"][card.default_head]
    head = card.heads[card.default_head]
    draw_curves(card.figures["history"], figures / "curves.png")
    draw_reliability(own["reliability"], figures / "reliability.png")
    draw_confusion(np.array(own["confusion"]), head.labels, figures / "confusion.png")
    (folder / "README.md").write_text(_describe(card), encoding="utf-8")


def write_run_report(
    run: Path, recipe: Recipe, history: list[dict[str, Any]], best: dict[str, Any]
) -> None:
    """Write a finished run's curves and `report.md`: the recipe, the best and the last epoch."""
    draw_curves(history, run / "curves.png")
    kept = "both of which are kept" if recipe.schedule.keep_best else "which is kept"
    titles = list(history[0])
    rows = [[str(row[title]) for title in titles] for row in (best, history[-1])]
    sections = [
        f"# {recipe.name}",
        f"{len(history)} epochs in {history[-1]['seconds'] / 60:.1f} minutes. "
        f"The best epoch by {recipe.watched}, and the last one, {kept}:",
        write_table(titles, rows),
        "![curves](curves.png)",
        f"```json\n{recipe.model_dump_json(indent=2)}\n```",
    ]
    (run / "report.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw loss and accuracy over the epochs, `rows` being a run's history.

    Where the history has them, the loss is validation's too and the accuracy training's.
    """
    epochs = [int(row["epoch"]) for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(epochs, [row["loss"] for row in rows], label="training")
    if "validation_loss" in rows[0]:
        left.plot(epochs, [row["validation_loss"] for row in rows], label="validation")
    left.set(xlabel="epoch", ylabel="loss")
    left.legend()
    for key in rows[0]:
        part, is_accuracy, head = key.rpartition("accuracy_")
        if is_accuracy:
            name = f"{head}, {part.removesuffix('_') or 'training'}"
            right.plot(epochs, [row[key] for row in rows], label=name)
    right.set(xlabel="epoch", ylabel="accuracy")
    right.legend()
    _save(figure, path)


def draw_reliability(bins: list[dict[str, float]], path: Path) -> None:
    """Draw how often answers of each probability are right, the area by how many there are."""
    shares, means, hits = (
        np.array([b[key] for b in bins]) for key in ("share", "probability", "right")
    )
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
    figures = card.figures
    sections = [
        f"# {card.name}",
        card.purpose,
        f"**Not for:** {card.not_for}",
        f"Takes a uint8 crop of {card.size} x {card.size} x {card.channels}, cut with a margin of "
        f"{card.margin}. Data: {card.data['source']} ({card.data['licence']}).",
        _describe_rebuilding(card.training),
        f"All figures are measured, and checked again, by `{figures['command']}`, on the "
        f"{figures['part']} part; in brackets their 95% intervals.{_describe_leakage(card)}",
        _describe_default(card),
        _describe_heads(figures["heads"]),
        _describe_classes(card),
        _describe_rules(card),
        _describe_quantization(figures.get("quantization", {})),
        _describe_outside(figures.get("ood", [])),
        _describe_photos(figures.get("photos", {})),
        _describe_groups(figures["groups"]),
        _describe_robustness(figures["robustness"]),
        "## Known weaknesses",
        "\n".join(f"- {sentence}" for sentence in figures["weaknesses"]) or "None was measured.",
        "\n".join(f"![{name}]({FIGURES}/{name}.png)" for name in CHARTS),
        "Written by `python -m training export`; don't edit.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _describe_rebuilding(training: dict[str, Any]) -> str:
    """Name the command that makes the model anew, and tell how long it takes."""
    command, minutes = training["command"], training["minutes"]
    sentences = [f"Rebuilt by `{command}`; its own training took {minutes} minutes."]
    if builds_on_unknown(training):
        sentences.append("How long the models took that it learned from wasn't recorded.")
    elif NEEDED_MINUTES in training:
        sentences.append(f"The models that it learned from took {training[NEEDED_MINUTES]} more.")
    sentences += [_describe_teacher(teacher) for teacher in training.get(TEACHERS, [])]
    return " ".join(sentences)


def _describe_teacher(teacher: dict[str, Any]) -> str:
    """Tell what a model comes to that taught a smaller one."""
    shares = ", ".join(
        f"{head} {each['accuracy']:.1%} of {each['count']}"
        for head, each in teacher["heads"].items()
    )
    return (
        f"It was taught by {teacher['name']} ({teacher['parameters'] / 1e6:.1f} million "
        f"parameters), whose own card called so many answers right: {shares or 'none'}."
    )


def builds_on_unknown(training: dict[str, Any]) -> bool:
    """Tell whether a card's training needed other models and doesn't say how long they took."""
    return bool(parse_recipe(training["recipe"]).needed_models) and NEEDED_MINUTES not in training


def _describe_leakage(card: Card) -> str:
    """Say that no figure is of a picture which was trained on too, where that was seen to."""
    if card.data.get("leakage") != "drop":
        return ""
    return " Training pictures that stand in this part too were left out of training."


def _describe_default(card: Card) -> str:
    """Name the head that answers by default, with the reason."""
    reason = f", because {card.default_head_reason}" if card.default_head_reason else ""
    return f"The head that answers by default: {card.default_head}{reason}."


def _describe_rules(card: Card) -> str:
    """Say which classes are learned and not answered, and when an answer must be surer."""
    sentences = []
    for name, head in card.heads.items():
        if head.excluded:
            sentences.append(
                f"{name} learns {', '.join(head.excluded)} as a class of its own and never answers "
                "it: the others share its probability in proportion. Pictures of which it, or no "
                "single class, has the majority aren't counted."
            )
        if head.conditional_threshold:
            sentences.append(
                f"{name} answers from a probability of {head.threshold:.3f} on; for a face "
                f"taken for “{head.conditional_threshold.found}” from {head.conditional_threshold.threshold:.3f} on, because "
                f"{_compare_children(card.figures['groups'])}."
            )
    return "\n\n".join(sentences)


def _compare_children(groups: list[dict[str, Any]]) -> str:
    """Tell how much less often children's faces are read rightly than others'."""
    bands = {
        group["age"]: f"{group['accuracy']:.1%} (ages {group['age']})"
        for group in groups
        if group["age"] != EVERYBODY and group["race"] == group["gender"] == EVERYBODY
    }
    children = " and ".join(bands[age] for age in CHILDREN_BANDS if age in bands)
    others = " and ".join(text for age, text in bands.items() if age not in CHILDREN_BANDS)
    return f"of children's faces {children} are read rightly, of others' {others}"


def _describe_heads(heads: dict[str, Any]) -> str:
    """Tabulate the figures of each head."""
    rows = [
        [
            name,
            str(figures["count"]),
            _with_interval(figures, "accuracy"),
            _with_interval(figures, "balanced_accuracy"),
            _with_interval(figures, "calibration_error"),
            _with_interval(figures, "accuracy_of_answers_given"),
            _with_interval(figures, "unanswered"),
        ]
        for name, figures in heads.items()
        if "accuracy" in figures
    ]
    titles = "head, pictures, accuracy, balanced accuracy, calibration error"
    table = write_table([*titles.split(", "), "right when answered", "unanswered"], rows)
    places = [
        f"Median errors of {name}: centre {figures['centre']:.1%} of the side, size "
        f"{figures['size']:.1%}, roll {figures['roll']:.1f}°."
        for name, figures in heads.items()
        if "roll" in figures
    ]
    return "\n\n".join([table, *places])


def _describe_classes(card: Card) -> str:
    """Tabulate how often each class is found, and how often an answer of it is right."""
    rows = [
        [
            name,
            label,
            str(sum(figures["confusion"][index])),
            _with_interval(
                {"recall": recall, "recall_interval": figures["recall_interval"][label]}, "recall"
            ),
            "" if (precision := figures["precision"][label]) is None else f"{precision:.1%}",
        ]
        for name, figures in card.figures["heads"].items()
        for index, label in enumerate(card.heads[name].labels)
        if (recall := figures.get("recall", {}).get(label)) is not None
    ]
    titles = ["head", "class", "pictures", "found (recall)", "right when named (precision)"]
    return "## Class by class\n\n" + write_table(titles, rows) if rows else ""


def _describe_quantization(accuracies: dict[str, dict[str, float]]) -> str:
    """Say what computing in 8 bits costs each head."""
    if not accuracies:
        return ""
    heads = ", ".join(
        f"{name} {each['quantized']:.2%} of answers right instead of {each['exact']:.2%}"
        for name, each in accuracies.items()
    )
    return (
        f"What answers is `{FILES['int8']}`, whose convolutions compute in 8 bits: {heads}. "
        "`RAUT_RUNTIME=onnx` takes the exact network."
    )


def _describe_outside(kinds: list[dict[str, Any]]) -> str:
    """Tabulate how many pictures are answered by "none of these"; the first kind wrongly."""
    rows = [[kind["kind"], str(kind["count"]), _with_interval(kind, "refused")] for kind in kinds]
    table = write_table(["pictures of", "count", "“none of these”"], rows)
    return "## None of these\n\n" + table if rows else ""


def _describe_photos(heads: dict[str, Any]) -> str:
    """Tabulate what comes of whole photos."""
    rows = [
        [
            name,
            str(figures["count"]),
            _with_interval(figures, "found"),
            _with_interval(figures, "accuracy"),
            _with_interval(figures["unseen_by_detector"] or {"accuracy": None}, "accuracy"),
            f"{figures['balanced_accuracy']:.1%}",
            _with_interval(figures, "unanswered"),
        ]
        for name, figures in heads.items()
    ]
    if not rows:
        return ""
    titles = ["head", "whole photos", "found", "accuracy", "of people new to the detector"]
    labels = next(iter(heads.values()))["labels"]
    counts = ", ".join(f"{count} {name}" for name, count in labels.items())
    groups = "; ".join(
        f"{head}, "
        + ", ".join(
            f"{name} {_with_interval(share, 'accuracy')}"
            for name, share in figures["genders"].items()
        )
        for head, figures in heads.items()
        if figures["genders"]
    )
    return "\n\n".join(
        [
            "## From photo to answer",
            write_table([*titles, "balanced accuracy", "unanswered"], rows),
            f"A face that isn't found counts as an error. Labels: {counts}. The detector has "
            "learned from half of the people, the crop's margin was chosen on all photos."
            + (f" By the photos' gender labels: {groups}." if groups else ""),
        ]
    )


def _describe_groups(groups: list[dict[str, Any]]) -> str:
    """Tabulate the accuracy by one property of the face at a time."""
    rows = [
        [
            axis,
            group[axis],
            str(group["count"]),
            _with_interval(group, "accuracy"),
            _with_interval(group, "unanswered"),
            _with_interval(group, "accuracy_of_answers_given"),
        ]
        for axis in GROUP_AXES
        for group in groups
        if all((group[other] == EVERYBODY) == (other != axis) for other in GROUP_AXES)
    ]
    titles = ["by", "label", "faces", "accuracy", "unanswered", "right when answered"]
    return "## For whom\n\n" + write_table(titles, rows) if rows else ""


def _describe_robustness(rows: list[dict[str, Any]]) -> str:
    """Tabulate the accuracy under each change of the pictures."""
    cells = [[row["change"], f"{row['level']:g}", _with_interval(row, "accuracy")] for row in rows]
    return "## When pictures are worse\n\n" + write_table(["change", "level", "accuracy"], cells)


def write_table(titles: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _with_interval(figures: dict[str, Any], name: str) -> str:
    """Write a share with its 95% interval."""
    if figures[name] is None:
        return "none"
    low, high = figures[f"{name}_interval"]
    return f"{figures[name]:.1%} ({low:.1%} to {high:.1%})"
