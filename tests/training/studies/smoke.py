"""Run studies at their smallest scale on made pictures, and read what they wrote."""

import json
from pathlib import Path

from tests.training.recipes import make_pictures
from training.runs import read_csv


def write_data(folder: Path) -> Path:
    for seed, (split, count) in enumerate((("train", 16), ("validation", 8))):
        make_pictures(folder / "data" / split, count, ("one", "two"), seed)
    return folder / "data"


def study(name: str, data: Path, folder: Path, *arguments: str) -> list[str | Path]:
    return ["study", name, "--scale", "smoke", "--data", data, "--out", folder, *arguments]


def read_results(folder: Path) -> list[dict[str, str]]:
    (path,) = folder.glob("results/*/results.csv")
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in read_csv(path)]


def read_figures(folder: Path) -> dict[str, float]:
    (path,) = folder.glob("results/*/results.json")
    figures: dict[str, float] = json.loads(path.read_text())["figures"]
    return figures


def read_report(folder: Path) -> str:
    (path,) = folder.glob("results/*/report.md")
    return path.read_text()
