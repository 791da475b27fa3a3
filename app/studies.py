"""Read what the training package has written of the published studies that it repeated."""

from __future__ import annotations

import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

RESULTS = "results.json"


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
    missing: list[str]
    rows: list[dict[str, float | str]]
    hardware: Hardware

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
        found[results.study] = results
    return found
