"""The pages of the published studies that were repeated: the papers' figures beside ours."""

import re

from flask import Blueprint, abort, render_template, send_from_directory
from flask.typing import ResponseReturnValue
from flask_babel import format_decimal, gettext

from app.studies import CURVES, StudyResults
from app.web.i18n.formats import data_string
from app.web.pages.charts import plot_histories
from app.web.server.state import state

blueprint = Blueprint("studies", __name__, url_prefix="/models/studies")

OURS = re.compile(r"([\d.]+) ?(%|s|)")  # a figure of ours, and its unit
SEPARATOR = re.compile(r"-(?=[a-z_]+=)")  # between the values in a training's name

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
    study = _find(name)
    return render_template(
        "models/study.html",
        study=study,
        paper=PAPERS.get(name),
        histories={_title(key): plots for key, plots in plot_histories(study.histories).items()},
        pictures={file: _words(file.removesuffix(CURVES), "-") for file in study.curves},
        difference=_difference,
    )


@blueprint.get("/<name>/figures/<file>")
def figure(name: str, file: str) -> ResponseReturnValue:
    """Send the picture of one training's curves, of a study that holds no histories."""
    return send_from_directory(_find(name).folder.absolute(), file)


def _find(name: str) -> StudyResults:
    study = state().studies.get(name)
    if study is None:
        abort(404, f"There are no results of a study {name!r} here.")
    return study


def _title(training: str) -> str:
    """Return the words of a training's name, as `base=vgg16-epochs=10`."""
    return ", ".join(_words(part, "=") for part in SEPARATOR.split(training))


def _words(name: str, separator: str) -> str:
    return " ".join(data_string(word.replace("_", " ")) for word in name.split(separator))


def _difference(paper: str, ours: str) -> str:
    """Return ours less the paper's figure of the same unit; a dash where one of them is none."""
    own = OURS.match(ours)
    published = own and re.search(rf"([\d.]+) ?{own[2]}", paper)
    if not own or not published:
        return "–"
    value = float(own[1]) - float(published[1])
    if own[2] == "%":
        return gettext("%(number)s points", number=format_decimal(value, "+0.0;-0.0"))
    number = format_decimal(value, "+#,##0.####;-#,##0.####")
    return f"{number} {data_string(own[2])}".strip()
