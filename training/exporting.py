"""Export a finished run as a model folder: model files, card, figures and a page to read."""

import datetime
import platform
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np

from app.files import write_whole
from app.vision.cards import CARD, Card, Head, ModelError
from app.vision.classifiers import FILES, OnnxNetwork, hash_file
from training.calibration import calibrate_heads
from training.compression import fold_normalization, pack, store_half_precision
from training.data import Part
from training.evaluation import choose_batch, run_network
from training.fitting import MODEL, list_heads, load_run, read_history, read_parts
from training.measuring import measure_model, name_command
from training.networks import build_network
from training.recipes import Recipe
from training.reports import write_model_report

# Of the largest logit. Standardising a nearly even square amplifies its rounding a hundredfold.
LARGEST_DIFFERENCE = 2e-4


class ParityError(ModelError):
    """Refuse an export whose answers differ from the model of record's."""


def export(run: Path, folder: Path) -> Card:
    """Write the model folder of a finished run; calibrate and measure on the validation part.

    All is made aside and takes its place at the end, the card last, so that a failure leaves the
    model of before. Raises `DataError` for an unfinished run, `ParityError` where Keras and ONNX
    Runtime differ.
    """
    with tempfile.TemporaryDirectory(dir=run) as made:
        card = _make(run, Path(made), folder)
        _put_in_place(Path(made), folder)
    return card


def _make(run: Path, made: Path, folder: Path) -> Card:
    """Write all files of a model that will lie in `folder`; return its card."""
    recipe, trained = load_run(run)
    _, validation = read_parts(recipe)
    classes = list_heads(recipe, validation)
    model = _fold(recipe, trained, {name: len(names) for name, names in classes.items()})
    model.save(made / FILES["keras"])
    pack(made / FILES["keras"])
    # Keras exports only a model that has run before.
    expected = model.predict(
        validation.pictures, batch_size=choose_batch(validation.pictures), verbose=0
    )
    _export_onnx(model, made / FILES["onnx"])
    network = OnnxNetwork((made / FILES["onnx"]).read_bytes(), threads=0)
    logits = run_network(network, validation.pictures)
    _check_parity(expected, logits)
    heads = _describe_heads(recipe, classes, validation)
    heads = calibrate_heads(recipe, heads, network, logits, validation)
    card = _describe_model(recipe, run, made, heads)
    write_card(made, card)
    figures = {**measure_model(made), **name_command(folder), "history": read_history(run)}
    card = card.model_copy(update={"figures": figures})
    write_card(made, card)
    write_model_report(made, card)
    return card


def _put_in_place(made: Path, folder: Path) -> None:
    """Replace a model folder's files one by one, the card last: until then nothing loads them."""
    files = [path for path in made.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda path: path.name == CARD):
        target = folder / file.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, partial(_copy, file))


def _copy(file: Path, stream: IO[bytes]) -> None:
    """Copy a file into a stream."""
    with file.open("rb") as source:
        shutil.copyfileobj(source, stream)


def write_card(folder: Path, card: Card) -> None:
    """Write a model folder's card."""
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _fold(recipe: Recipe, trained: keras.Model, heads: dict[str, int]) -> keras.Model:
    """Return the network for serving, its normalisation folded into the convolutions."""
    data, network = recipe.data, recipe.network
    folded = build_network(
        network.name, data.channels, heads, network.options, data.size, normalization=None
    )
    fold_normalization(trained, folded)
    return folded


def _export_onnx(model: keras.Model, path: Path) -> None:
    """Write the ONNX form, with a free batch size."""
    with tempfile.TemporaryDirectory() as aside:
        written = Path(aside) / path.name
        model.export(written, format="onnx", verbose=False)
        store_half_precision(written)
        shutil.copyfile(written, path)


def _check_parity(expected: dict[str, np.ndarray], logits: dict[str, np.ndarray]) -> None:
    """Compare Keras' logits with those of ONNX Runtime on real pictures."""
    for name, values in expected.items():
        # Logits differ more than probabilities, so this is the stricter test.
        difference = float(np.abs(values - logits[name]).max())
        if difference > LARGEST_DIFFERENCE * max(1.0, float(np.abs(values).max())):
            raise ParityError(f"The ONNX export's {name} logits differ by {difference:.2g}.")


def _describe_heads(
    recipe: Recipe, classes: dict[str, tuple[str, ...]], part: Part
) -> dict[str, Head]:
    """Describe the heads before calibration; voted classes without labels are left out."""
    return {
        name: Head(
            targets=head.targets,
            classes=list(classes[name]),
            left_out=[c for c in classes[name] if c not in part.classes]
            if head.targets == "votes"
            else [],
        )
        for name, head in recipe.heads.items()
    }


def _describe_model(recipe: Recipe, run: Path, folder: Path, heads: dict[str, Head]) -> Card:
    """Return the card of exported files, before any figure."""
    data = recipe.data
    return Card(
        name=recipe.name,
        task=recipe.task,
        region=recipe.region,
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


def _describe_training(recipe: Recipe, run: Path) -> dict[str, Any]:
    """Say how the model came about."""
    return {
        "command": f"python -m training fit {recipe.name} --out runs/{recipe.name} && "
        f"python -m training export runs/{recipe.name} models/{recipe.name}",
        "date": datetime.datetime.fromtimestamp((run / MODEL).stat().st_mtime, datetime.UTC)
        .date()
        .isoformat(),
        "minutes": round(float(read_history(run)[-1]["seconds"]) / 60, 1),
        "processor": platform.machine(),
        "keras": keras.__version__,
        "recipe": recipe.model_dump(mode="json"),
    }
