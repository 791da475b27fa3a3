"""Write a day's figures as JSON, as tables for people and as plots."""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

OURS = "raut"
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
    reasons = {
        name: {"why": why.replace("|", "/").replace("\n", " ")}
        for part in figures.values()
        for name, why in {**part.get("missing", {}), **part.get("failed", {})}.items()
    }
    figures = {part: found for part, found in figures.items() if part not in reasons}
    if "run" in figures:
        lines += ["", _describe_run(figures["run"]), *_name_commits(figures)]
    if "photos" in figures:
        taken = figures["photos"]["milliseconds"]
        lines += _table("Photo to answer, ms", taken, _spread)
        lines += _table("Times as long as ours", _compare(taken), _either)
        lines += _table("Our stages inside an answer, ms", figures["photos"]["stages"], _spread)
        lines += _table("Faces found", figures["photos"]["faces"], str)
        lines += _table("Memory after all of them, MB", figures["photos"]["memory"], _whole)
    if "cold" in figures:
        lines += _table("First answer of a new process", figures["cold"]["first_answer"], _spread)
    if "install" in figures:
        lines += _table("Install", figures["install"], _whole)
    if "stages" in figures:
        machine, pictures = figures["stages"]["machine"], figures["stages"]["pictures"]
        lines += _table("Each stage alone, ms, and the machine's best", pictures, _share)
        lines += ["", _describe_machine(machine)]
    for part in GROWTH:
        if part in figures:
            points = {f"{point['x']:.3g}": point for point in figures[part]["points"]}
            rows = {
                x: {"ms": _spread(p), **({"found": p["faces"]} if "faces" in p else {})}
                for x, p in points.items()
            }
            lines += _table(f"Time against {part}", rows, str)
            lines += ["", f"Slope: {figures[part]['slope']:.2f}."]
    if "group" in figures:
        title = "32 faces of 40 pixels in 24 megapixels, by effort"
        lines += _table(title, figures["group"], _either)
    if "networks" in figures:
        lines += _table("Networks, by faces in a call", figures["networks"]["networks"], _either)
        lines += ["", _describe_machine(figures["networks"]["machine"])]
    if "server" in figures:
        lines += _table("The server, by workers", figures["server"], _whole)
    if "live" in figures:
        live = figures["live"]
        lines += ["", f"One camera: {live['frames_per_second']:.1f} frames a second, "]
        lines[-1] += f"p50 {live['delay_p50_ms']} ms, p95 {live['delay_p95_ms']} ms; "
        lines[-1] += "two photos a second were asked for beside it."
    if "bulk" in figures:
        lines += _table("In bulk, by the command line", figures["bulk"], _either)
    if reasons:
        lines += _table("Not measured", dict(sorted(reasons.items())), str)
    return "\n".join(lines).rstrip() + "\n"


def _compare(times: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {
        picture: {
            name: each["median"] / row[OURS]["median"] for name, each in row.items() if name != OURS
        }
        for picture, row in times.items()
        if OURS in row
    }


def _describe_run(run: dict[str, Any]) -> str:
    hardware = run["hardware"]
    return (
        f"{hardware['processor']}, {hardware['cores']} cores, "
        f"{hardware['memory_bytes'] / 1e9:.0f} GB; commit {run['commit']}; load average before "
        f"the run {run['load_before']:.2f}."
    )


def _name_commits(figures: dict[str, Any]) -> list[str]:
    last = figures["run"]["commit"]
    others = {part: each for part, each in figures["commits"].items() if each != last}
    named = ", ".join(f"{part} of {each}" for part, each in others.items())
    return ["", f"Measured at other commits: {named}."] if named else []


def _describe_machine(machine: dict[str, float]) -> str:
    return (
        f"One core at best: {machine['multiply_adds_billions_a_second']:.3g} billion multiply-adds "
        f"and {machine['gigabytes_a_second']:.3g} GB copied a second."
    )


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
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = ["", f"## {title}", "", "| | " + " | ".join(columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        cells = [show(row[column]) if column in row else "-" for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _spread(value: dict[str, float]) -> str:
    return f"{value['median']:.3g} ({value['low']:.3g}-{value['high']:.3g})"


def _share(value: dict[str, float]) -> str:
    return f"{value['median']:.3g} ({value['best']:.2g}, {value['share']:.0%})"


def _either(value: dict[str, float] | float) -> str:
    return _spread(value) if isinstance(value, dict) else f"{value:.3g}"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
