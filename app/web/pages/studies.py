"""The pages of the published studies that were repeated: the papers' figures beside ours."""

from flask import Blueprint, abort, render_template, send_from_directory
from flask.typing import ResponseReturnValue

from app.studies import StudyResults
from app.web.server.state import state

blueprint = Blueprint("studies", __name__, url_prefix="/models/studies")

# Authors, title, place and year; those of the others don't stand in the texts that were reproduced.
PAPERS = {
    "expression-epochs-batches": (
        "Pulung Adi Nugroho, Indah Fenriana, Rudy Arijanto",
        "Implementasi Deep Learning Menggunakan Convolutional Neural Network (CNN) pada Ekspresi "
        "Manusia",
        "Universitas Buddhi Dharma, 2020",
    ),
    "gender-resnet18": (
        "Nasywa Kynda Sanina",
        "Klasifikasi Gender Menggunakan Deep Learning ResNet18",
        "Universitas Darussalam Gontor, 2025",
    ),
    "finetune-depth": (
        "Fauzan Muhammad, Aniati Murni Arimurthy, Dina Chahyati",
        "Transfer Learning dengan Metode Fine Tuning pada Model Network VGG16 dan ResNet50",
        "Indonesian Journal of Computer Science 12(1), 361, 2023",
    ),
}


@blueprint.get("/<name>")
def page(name: str) -> str:
    """Show one study's results."""
    return render_template("models/study.html", study=_find(name), paper=PAPERS.get(name))


@blueprint.get("/<name>/figures/<file>")
def figure(name: str, file: str) -> ResponseReturnValue:
    """Send one of a study's learning curves."""
    return send_from_directory(_find(name).folder.absolute(), file)


def _find(name: str) -> StudyResults:
    study = state().studies.get(name)
    if study is None:
        abort(404, f"There are no results of a study {name!r} here.")
    return study
