"""Write a day's figures as JSON, as tables for people and as plots."""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

GROWTH = ("megapixels", "faces", "clients")


def merge_figures(file: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """Put newly measured parts into the day's file; returns all of its figures."""
    figures = json.loads(file.read_text()) if file.exists() else {}
    figures.update(parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def write_report(figures: dict[str, Any]) -> str:
    """Write each part as a table in Markdown."""
    lines = ["# Measurements", "", "Medians, with the quartiles in brackets."]
    if "photos" in figures:
        for title, key in (("Photo to answer, ms", "milliseconds"), ("Our stages, ms", "stages")):
            lines += _table(title, figures["photos"][key], _spread)
        lines += _table("Faces found", figures["photos"]["faces"], str)
    if "cold" in figures:
        lines += _table("First answer of a new process", figures["cold"]["first_answer"], _spread)
    if "install" in figures:
        lines += _table("Install", figures["install"], _whole)
    if "limit" in figures:
        lines += _table("What the machine does at best, ms", figures["limit"], _spread)
    for part in GROWTH:
        if part in figures:
            points = {f"{point['x']:.3g}": point for point in figures[part]["points"]}
            rows = {
                x: {"ms": _spread(p), **({"found": p["faces"]} if "faces" in p else {})}
                for x, p in points.items()
            }
            lines += _table(f"Time against {part}", rows, str)
            lines += ["", f"Slope: {figures[part]['slope']:.2f}."]
    if "networks" in figures:
        peak = figures["networks"]["peak_billions_a_second"]
        lines += _table("Networks, one picture", figures["networks"]["networks"], _either)
        lines += ["", f"A large product of matrices: {peak:.3g} billion multiply-adds a second."]
    if "server" in figures:
        lines += _table("The server, by workers", figures["server"], _whole)
    if "live" in figures:
        live = figures["live"]
        lines += ["", f"One camera: {live['frames_per_second']:.1f} frames a second, "]
        lines[-1] += f"p50 {live['delay_p50_ms']} ms, p95 {live['delay_p95_ms']} ms."
    if "bulk" in figures:
        rate = figures["bulk"]["photos_per_second"]
        lines += ["", f"In bulk: {rate:.1f} photos a second on two cores."]
    reasons = {
        name: why
        for part in figures.values()
        for name, why in {**part.get("missing", {}), **part.get("failed", {})}.items()
    }
    lines += ["", *(f"- {name}: {why}." for name, why in sorted(reasons.items()))]
    return "\n".join(lines).rstrip() + "\n"


def plot_growth(figures: dict[str, Any], folder: Path, day: str) -> None:
    """Plot time against what grows, both as logarithms."""
    for part in (part for part in GROWTH if part in figures):
        points = figures[part]["points"]
        figure, axes = plt.subplots(figsize=(6, 4))
        axes.loglog([p["x"] for p in points], [p["median"] for p in points], "o-")
        axes.set(xlabel=part, ylabel="ms", title=f"slope {figures[part]['slope']:.2f}")
        figure.tight_layout()
        figure.savefig(folder / f"{day}-{part}.png", dpi=100)
        plt.close(figure)


def _table(title: str, rows: dict[str, dict[str, Any]], show: Any) -> list[str]:
    """Write rows of named cells; a cell that a row lacks is a dash."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = ["", f"## {title}", "", "| | " + " | ".join(columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        cells = [show(row[column]) if column in row else "-" for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _spread(value: dict[str, float]) -> str:
    """Write a median with its quartiles."""
    return f"{value['median']:.3g} ({value['low']:.3g}-{value['high']:.3g})"


def _either(value: dict[str, float] | float) -> str:
    """Write a median with its quartiles, or a single figure."""
    return _spread(value) if isinstance(value, dict) else f"{value:.3g}"


def _whole(value: float | None) -> str:
    """Write a whole number, a dash where it wasn't measured."""
    return "-" if value is None else f"{value:.0f}"
