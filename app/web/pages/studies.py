"""The pages of the published studies that were repeated: the papers' figures beside ours."""

from flask import Blueprint, abort, current_app, render_template

from app.studies import StudyResults

STUDIES = "raut.studies"  # where the application keeps the results that were found at its start
blueprint = Blueprint("studies", __name__)


@blueprint.get("/models/studies/<name>")
def page(name: str) -> str:
    """Show one study's results."""
    study = repeated_studies().get(name)
    if study is None:
        abort(404, f"There are no results of a study {name!r} here.")
    return render_template("study.html", study=study)


def repeated_studies() -> dict[str, StudyResults]:
    """Return the results of each study by its name."""
    studies: dict[str, StudyResults] = current_app.extensions[STUDIES]
    return studies
