"""Read what the training package has written of the published studies that it repeated."""

import datetime
import re
from pathlib import Path

from pydantic import BaseModel, ValidationError

RESULTS = "results.json"
CURVES = "-curves.png"
MISSING_WEIGHTS = re.compile(r"The ImageNet weights of (\w+) can't be downloaded")


class StudyError(Exception):
    """Refuse results that aren't as they are written; the text names the file."""


class Hardware(BaseModel):
    """Say what a study ran on."""

    processor: str
    cores: int


class ComparedFigure(BaseModel):
    """Hold one of a paper's figures beside ours, "" where it did not run, and why they differ."""

    figure: str
    paper: str
    ours: str
    why: str


class PublishedTable(BaseModel):
    """Hold one of a paper's tables, with ours in the last column, and how far both agree.

    `difference` is the mean one in points, `correlation` that of the `ran` figures, of `of`. Each
    of `pairs` is the paper's share and ours.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    ran: int
    of: int
    difference: float | None = None
    correlation: float | None = None
    pairs: list[tuple[float, float]] = []


class StudyResults(BaseModel):
    """Hold the results of one study. `training.studies.study` writes them."""

    study: str
    title: str
    question: str
    scale: str
    command: str
    date: datetime.date
    source: str
    differences: list[str]
    comparison: list[ComparedFigure]
    published: list[PublishedTable] = []
    missing: list[str]
    rows: list[dict[str, float | str]]
    histories: dict[str, dict[str, list[float]]] = {}  # of each training, a value for each epoch
    hardware: Hardware
    folder: Path = Path()  # Where its figures are.
    without_weights: list[str] = []  # Networks that did not run for want of weights.

    @property
    def curves(self) -> list[str]:
        """Name the pictures of learning curves, of results that hold no histories."""
        return sorted(each.name for each in self.folder.glob(f"*{CURVES}"))

    @property
    def columns(self) -> list[str]:
        """Name the figures of all trainings, in the order in which they come."""
        return list(dict.fromkeys(key for row in self.rows for key in row))


def read_studies(folder: Path) -> dict[str, StudyResults]:
    """Return each study's latest results, by its name; none where there is no such folder.

    `folder` holds <study>/<date>/results.json. Raises `StudyError` for a file that isn't right.
    """
    found = {}
    for file in sorted(folder.glob(f"*/*/{RESULTS}")):
        try:
            results = StudyResults.model_validate_json(file.read_text(encoding="utf-8"))
        except (ValidationError, UnicodeDecodeError) as error:
            raise StudyError(
                f"{file} holds no results of a study: {error}. Take it out, or write it anew by "
                "`python -m training study`."
            ) from error
        results.folder = file.parent / "figures"
        weights = [MISSING_WEIGHTS.match(each) for each in results.missing]
        results.without_weights = [each[1] for each in weights if each]
        results.missing = [m for m, w in zip(results.missing, weights, strict=True) if not w]
        found[results.study] = results
    return found
