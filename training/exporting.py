"""Export a finished run as a model folder: model files, card, figures and a page to read."""

import datetime
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

from app.vision.cards import CARD, Card, Head
from app.vision.classifiers import FILES, OnnxNetwork, hash_file
from training.data import Part
from training.evaluation import measure_heads, right_answers, run_network
from training.fitting import HISTORY, MODEL, list_heads, load_run, read_parts
from training.metrics import calibrate
from training.recipes import Recipe
from training.reports import write_model_report

# Of the largest logit. Standardising a nearly even square amplifies its rounding a hundredfold.
LARGEST_DIFFERENCE = 2e-4


class ParityError(Exception):
    """Refuse an export whose answers differ from the model of record's."""


def export(run: Path, folder: Path) -> Card:
    """Write the model folder of a finished run; calibrate and measure on the validation part.

    Raises `DataError` for an unfinished run, `ParityError` where Keras and ONNX Runtime differ.
    """
    recipe, model = load_run(run)
    _, validation = read_parts(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / MODEL, folder / FILES["keras"])
    # Keras exports only a model that has run before.
    expected = model.predict(validation.pictures, batch_size=256, verbose=0)
    _export_onnx(model, folder / FILES["onnx"])
    network = OnnxNetwork((folder / FILES["onnx"]).read_bytes(), threads=0)
    logits = run_network(network, validation.pictures)
    _check_parity(expected, logits)
    heads = {
        name: _calibrated_head(recipe, name, classes, logits[name], validation)
        for name, classes in list_heads(recipe, validation.classes).items()
    }
    card = _write_card(recipe, run, folder, heads, logits, validation)
    write_model_report(folder, card, run / HISTORY, logits, validation)
    return card


def _export_onnx(model: keras.Model, path: Path) -> None:
    """Write the ONNX form, with a free batch size."""
    with tempfile.TemporaryDirectory() as aside:
        written = Path(aside) / path.name
        model.export(written, format="onnx", verbose=False)
        shutil.copyfile(written, path)


def _check_parity(expected: dict[str, np.ndarray], logits: dict[str, np.ndarray]) -> None:
    """Compare Keras' logits with those of ONNX Runtime on real pictures."""
    for name, values in expected.items():
        # Logits differ more than probabilities, so this is the stricter test.
        difference = float(np.abs(values - logits[name]).max())
        if difference > LARGEST_DIFFERENCE * max(1.0, float(np.abs(values).max())):
            raise ParityError(f"The ONNX export's {name} logits differ by {difference:.2g}.")


def _calibrated_head(
    recipe: Recipe, name: str, classes: tuple[str, ...], logits: np.ndarray, part: Part
) -> Head:
    """Return a head whose temperature and "unsure" limit were set on the validation part."""
    targets = recipe.heads[name].targets
    if targets == "places":
        return Head(targets=targets, classes=list(classes))
    left_out = [c for c in classes if c not in part.classes]
    head = Head(targets=targets, classes=list(classes), left_out=left_out)
    labels = right_answers(head, part)
    return calibrate(head, logits[labels >= 0], labels[labels >= 0], recipe.minimum_certainty)


def _write_card(
    recipe: Recipe,
    run: Path,
    folder: Path,
    heads: dict[str, Head],
    logits: dict[str, np.ndarray],
    validation: Part,
) -> Card:
    """Write the card, measured on the validation part."""
    data = recipe.data
    card = Card(
        name=recipe.name,
        task=recipe.task,
        region="face",
        purpose=recipe.purpose,
        not_for=recipe.not_for,
        size=data.size,
        channels=data.channels,
        margin=data.margin,
        heads=heads,
        answers=recipe.answers,
        files={name: hash_file((folder / name).read_bytes()) for name in FILES.values()},
        data={"source": data.source, "licence": data.licence, "leakage": data.leakage},
        training=_describe_training(recipe, run),
        figures={},
    )
    new = np.ones(len(validation.labels), dtype=bool)  # shared pictures were not trained on
    figures = {
        "part": "validation",
        "command": f"python -m training evaluate models/{recipe.name} {data.folder} "
        "--split validation",
        "heads": measure_heads(card, logits, validation, new),
    }
    card = card.model_copy(update={"figures": figures})
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def _describe_training(recipe: Recipe, run: Path) -> dict[str, Any]:
    """Say how the model came about."""
    last = (run / HISTORY).read_text(encoding="utf-8").splitlines()[-1]
    return {
        "command": f"python -m training fit {recipe.name} --out runs/{recipe.name} && "
        f"python -m training export runs/{recipe.name} models/{recipe.name}",
        "date": datetime.datetime.fromtimestamp((run / MODEL).stat().st_mtime, datetime.UTC)
        .date()
        .isoformat(),
        "minutes": round(float(last.rsplit(",", 1)[-1]) / 60, 1),
        "processor": platform.machine(),
        "keras": keras.__version__,
        "recipe": recipe.model_dump(mode="json"),
    }
