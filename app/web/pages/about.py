"""The page that says who Raut is for, how it works, and what it must not be used for."""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageMetadata, distributions

from flask import Blueprint, render_template

from app.paths import DATA
from app.web.server import sandbox

CITATION = DATA / "CITATION.cff"
LONGEST_LICENCE = 60  # Some packages give the licence's whole text where its name belongs.

blueprint = Blueprint("about", __name__)


@dataclass(frozen=True)
class Package:
    """Name an installed package, its version and its licence as it states them itself."""

    name: str
    version: str
    licence: str


@blueprint.get("/about")
def page() -> str:
    """Show the page."""
    return render_template(
        "about.html",
        citation=CITATION.read_text(encoding="utf-8"),
        parts=list_parts(),
        mechanisms=sandbox.in_force,
    )


@cache
def list_parts() -> tuple[Package, ...]:
    """List every installed package by name, once for a process: they don't change under it."""
    found = {each.metadata["Name"].lower(): each for each in distributions()}
    return tuple(
        Package(each.metadata["Name"], each.version, _licence(each.metadata))
        for _, each in sorted(found.items())
    )


def _licence(metadata: PackageMetadata) -> str:
    """Return the licence's name: its SPDX expression, or else the field or classifiers before it.

    Source: Python packaging's core metadata specification, License-Expression.
    """
    fields = ("License-Expression", "License")
    stated = next((each for name in fields for each in metadata.get_all(name) or []), "")
    if stated and "\n" not in stated and len(stated) <= LONGEST_LICENCE:
        return stated
    named = [
        each.rsplit(" :: ", 1)[-1]
        for each in metadata.get_all("Classifier") or []
        if each.startswith("License ::")
    ]
    return ", ".join(named) or stated.strip().partition("\n")[0][:LONGEST_LICENCE]
