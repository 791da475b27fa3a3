"""Write a day's figures as JSON and as Markdown tables."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.markdown import markdown_table

OURS = "raut"


def figures_table(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None
) -> str:
    """Return a Markdown table of the `columns`, which map keys to titles, by default all."""
    columns = columns or {key: key.replace("_", " ") for key in rows[0]}
    return markdown_table([[row[key] for key in columns] for row in rows], list(columns.values()))


def merge_figures(file: Path, parts: dict[str, Any]) -> dict[str, Any]:
    """Merge newly measured parts into the day's file; returns all of its figures."""
    figures: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    figures.update(parts)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def write_report(figures: dict[str, Any]) -> str:
    """Return all parts as Markdown."""
    reasons = {
        name: {"reason": why.replace("|", "/").replace("\n", " ")}
        for part in figures.values()
        for name, why in {**part.get("missing", {}), **part.get("failed", {})}.items()
    }
    blocks = ["# Measurements", "Medians, with the quartiles in parentheses."]
    if "run" in figures:
        blocks += _describe_run(figures)
    for part, describe in PARTS.items():
        if part in figures and part not in reasons:
            blocks += describe(figures[part])
    if reasons:
        blocks += _table("Not measured", dict(sorted(reasons.items())))
    return "\n\n".join(blocks) + "\n"


def _describe_run(figures: dict[str, Any]) -> list[str]:
    run, hardware = figures["run"], figures["run"]["hardware"]
    described = (
        f"{hardware['processor']}, {hardware['cores']} cores, "
        f"{hardware['memory_bytes'] / 1e9:.0f} GB; commit {run['commit']}; load average before "
        f"the run {run['load_before']:.2f}."
    )
    commits = figures["commits"].items()
    others = [f"{part} of {each}" for part, each in commits if each != run["commit"]]
    return [described, *([f"Measured at other commits: {', '.join(others)}."] if others else [])]


def _describe_growth(part: str) -> Callable[[dict[str, Any]], list[str]]:
    def describe(growth: dict[str, Any]) -> list[str]:
        rows = {
            f"{point['x']:.3g}": {
                "ms": _format(point),
                **({"found": point["faces"]} if "faces" in point else {}),
            }
            for point in growth["points"]
        }
        return [*_table(f"Time against {part}", rows, str), f"Slope: {growth['slope']:.2f}."]

    return describe


def _describe_machine(machine: dict[str, float]) -> str:
    return (
        f"Peak of one core: {machine['multiply_adds_billions_a_second']:.3g} billion multiply-adds "
        f"and {machine['gigabytes_a_second']:.3g} GB copied a second."
    )


def _table(
    title: str, rows: dict[str, dict[str, Any]], show: Callable[[Any], str] | None = None
) -> list[str]:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [
        [name, *((show or _format)(row[key]) if key in row else "-" for key in columns)]
        for name, row in rows.items()
    ]
    return [f"## {title}", markdown_table(cells, ["", *columns])]


def _format(value: dict[str, float] | float | str) -> str:
    """Format a number, a median with its quartiles, or one with its share of the optimum."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return f"{value:.3g}"
    if "best" in value:
        return f"{value['median']:.3g} ({value['best']:.2g}, {value['share']:.0%})"
    return f"{value['median']:.3g} ({value['low']:.3g}-{value['high']:.3g})"


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


PARTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "photos": lambda part: [
        *_table("Time per photo, ms", part["milliseconds"]),
        *_table("Faces found", part["faces"], str),
        *_table("Memory after all photos, MB", part["memory"], _whole),
    ],
    "cold": lambda part: _table("First answer of a new process", part["first_answer"]),
    "install": lambda part: _table("Installation", part, _whole),
    "stages": lambda part: [
        *_table("Each stage alone, ms, with the optimum and its share", part["pictures"]),
        _describe_machine(part["machine"]),
    ],
    **{part: _describe_growth(part) for part in ("megapixels", "faces", "clients")},
    "group": lambda part: _table("32 faces of 40 pixels in 24 megapixels, by effort", part),
    "networks": lambda part: [
        *_table("Networks, by faces in a batch", part["networks"]),
        _describe_machine(part["machine"]),
    ],
    "server": lambda part: _table("The server, by workers", part, _whole),
    "live": lambda part: [
        f"One camera: {part['frames_per_second']:.1f} frames a second, "
        f"p50 {part['delay_p50_ms']} ms, p95 {part['delay_p95_ms']} ms; two photos a second were "
        "sent beside it."
    ],
    "bulk": lambda part: _table("The command line on several photos", part),
    "accuracy": lambda part: [
        block
        for name, rows in part["tables"].items()
        for block in _table(f"How often right: {name}", rows, str)
    ],
}
