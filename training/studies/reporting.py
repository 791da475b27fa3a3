"""Write a study's results.csv, results.json and report.md."""

import json
import platform
import re
from importlib import import_module
from typing import Any

import numpy as np

from app.files import write_text
from app.intervals import wilson_interval
from app.markdown import markdown_table, percent
from training.evaluate.metrics import find_recalls
from training.evaluate.reports import write_sections
from training.machine import describe_hardware
from training.runs import list_columns, write_csv
from training.studies.session import (
    Findings,
    PaperFigure,
    Published,
    Session,
    Trial,
    list_curves,
)

PACKAGES = ("keras", "tensorflow", "numpy", "sklearn", "optuna")  # by the names of import


def add_trial(findings: Findings, trial: Trial) -> None:
    """Add a trial's row, curves and section to the findings."""
    findings.rows.append(trial.row)
    findings.histories[trial.name] = list_curves(trial.history)
    findings.sections.append(describe_training(trial.name, trial.confusion, trial.classes))


def describe_training(name: str, confusion: np.ndarray, classes: tuple[str, ...]) -> str:
    """Return the section on a training, with its confusion matrix in counts."""
    rows = [[label, *counts] for label, counts in zip(classes, confusion, strict=True)]
    matrix = markdown_table(rows, ["labelled, answered", *classes])
    return f"## {name}\n\n{matrix}\n\n{describe_classes(confusion, classes)}"


def describe_classes(confusion: np.ndarray, classes: tuple[str, ...]) -> str:
    """Tabulate each class's counts and figures.

    Papers call two different shares a class's accuracy: (TP + TN) / all, the usual one, which is
    high for every rare class, and TP / (TP + FP + FN). Both are given.
    """
    hits = np.diagonal(confusion)
    false_alarms, misses = confusion.sum(axis=0) - hits, confusion.sum(axis=1) - hits
    others = confusion.sum() - hits - false_alarms - misses
    counts = (hits, false_alarms, misses, others)
    shares = (
        find_recalls(confusion.T),
        find_recalls(confusion),
        (hits + others) / confusion.sum(),
        hits / np.maximum(1, hits + false_alarms + misses),
    )
    rows = [
        [name, *(each[index] for each in counts), *(percent(each[index], 2) for each in shares)]
        for index, name in enumerate(classes)
    ]
    columns = ["class", "TP", "FP", "FN", "TN", "precision", "recall"]
    return markdown_table(rows, [*columns, "(TP + TN) / all", "TP / (TP + FP + FN)"])


def write_results(session: Session, findings: Findings) -> None:
    """Write results.csv, results.json and report.md."""
    study, recipe, folder = session.study, session.recipe, session.results
    compared = [_compare(item, findings) for item in study.paper]
    published = compare_points(study.published, findings.rows)
    hardware = describe_hardware()
    folder.mkdir(parents=True, exist_ok=True)
    if findings.rows:
        write_csv(folder / "results.csv", findings.rows)
    results = {
        "study": session.name,
        **study.model_dump(include={"title", "question", "differences"}),
        "comparison": compared,
        "published": published,
        "source": recipe.data.source,
        "scale": session.scale,
        "command": session.command,
        "date": folder.name,
        "seed": recipe.seed,
        "versions": {
            "python": platform.python_version(),
            **{name: import_module(name).__version__ for name in PACKAGES},
        },
        "hardware": hardware,
        "recipe": recipe.model_dump(mode="json"),
        **study.model_dump(include={"grid", "options"}),
        **{name: getattr(findings, name) for name in ("figures", "missing", "rows", "histories")},
    }
    write_text(write_json(results), folder / "results.json")
    sections = [
        f"# {study.title}",
        study.question,
        f"`{session.command}`, {folder.name}, seed {recipe.seed}, {hardware['processor']} with "
        f"{hardware['cores']} cores. Data: {recipe.data.source}.",
    ]
    if session.scale == "smoke":
        sections.append("**A trial of the code on a small scale: its figures say nothing.**")
    if not findings.rows:
        sections.append("**Nothing ran, so there are no figures of ours.**")
    columns = ["figure", "paper", "ours", "on the difference"]
    table = markdown_table([row.values() for row in compared], columns)
    found = session.inspection
    checks = found.faults + [f"Leakage: {leak}" for leak in found.leakage] + found.remarks
    for title, text in (
        ("What could not run", _list(findings.missing)),
        ("Compared with the paper", table),
        ("Differences from the paper", _list(study.differences)),
        ("Checks of the data", _list(checks)),
    ):
        sections += [f"## {title}", text] if text else []
    sections += map(describe_published, published)
    if findings.rows:
        columns = list_columns(findings.rows)
        rows = [[row.get(column) for column in columns] for row in findings.rows]
        sections += ["## All trainings", markdown_table(rows, columns)]
        sections.append("The losses and accuracies of each epoch are in results.json.")
    write_sections(folder / "report.md", *sections, *findings.sections)


def write_json(results: dict[str, Any]) -> str:
    """Return results as JSON, with each innermost list and object on one line."""
    text = json.dumps(results, indent=1)
    return re.sub(r"[\[{][^][{}]*[]}]", lambda inner: " ".join(inner[0].split()), text) + "\n"


def compare_points(tables: list[Published], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set the paper's tables beside the rows of ours with the same values of their keys.

    Returns, for each table of which anything ran, its `title`, `columns` and `rows` of texts, how
    many points `ran` of how many (`of`), and of shares the `pairs`, the paper's and ours, their
    mean `difference` in points, and from three pairs on their `correlation`.
    """
    compared = []
    for table in tables:
        cells, pairs = [], []
        for *values, theirs in table.rows:
            point = table.fixed | dict(zip(table.keys, values, strict=True))
            own = next((r[table.figure] for r in rows if point.items() <= r.items()), None)
            cells.append([*map(str, values), *(_write(each, table.form) for each in (theirs, own))])
            if own is not None:
                pairs.append((theirs, own))
        found: dict[str, Any] = {"title": table.title, "ran": len(pairs), "of": len(cells)}
        found |= {"columns": [*table.keys, "paper", "ours"], "rows": cells}
        if pairs and table.form == "share":
            difference = 100 * float(np.mean([own - theirs for theirs, own in pairs]))
            found |= {"pairs": pairs, "difference": round(difference, 1)}
            if len(pairs) > 2:
                found["correlation"] = round(float(np.corrcoef(np.transpose(pairs))[0, 1]), 3)
        if pairs:
            compared.append(found)
    return compared


def describe_published(table: dict[str, Any]) -> str:
    """Return the report's section on a table of `compare_points`."""
    text = f"## {table['title']}\n\n{markdown_table(table['rows'], table['columns'])}"
    if "difference" in table:
        text += f"\n\n{table['ran']} of {table['of']} ran: "
        text += f"mean difference {table['difference']:+.1f} points"
        text += f", correlation {table['correlation']:.3f}." if "correlation" in table else "."
    return text


def _write(value: float | None, form: str) -> str:
    if value is None:
        return ""
    texts = {"share": percent(value, 2), "seconds": f"{value:.0f} s", "number": f"{value:.4g}"}
    return texts[form]


def _compare(item: PaperFigure, findings: Findings) -> dict[str, str]:
    own, count = findings.figures.get(item.ours), findings.counts.get(item.ours)
    ours, why = _write(own, item.form), "This did not run." if own is None else item.why
    if own is not None and count:
        low, high = wilson_interval(round(own * count), count)
        ours += f" ({100 * low:.1f}–{percent(high)})"
    if (deviation := findings.figures.get(f"{item.ours}_deviation")) is not None:
        ours += f" ± {100 * deviation:.2f}"
    return {"figure": item.figure, "paper": item.value, "ours": ours, "why": why}


def _list(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
