"""Export a finished run as a model folder: model files, card, figures and README.md."""

import json
import platform
import shlex
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np

from app.files import atomic_write
from app.vision.detection.detector import DETECTOR_FOLDERS
from app.vision.models.cards import CARD, ONE_CLASS, Card, Head, Join, ModelError, load_card
from app.vision.models.files import FILES, choose_file, hash_file, read_verified
from app.vision.models.onnx_network import OnnxNetwork
from training.datasets.experiment import Experiment, list_heads, read_splits, read_validation
from training.datasets.loading import Split, shape_pictures
from training.evaluate import Heads, Logits
from training.evaluate.card_metrics import calibrate_card, measure_model
from training.evaluate.network import choose_batch, compare_quantized, run_network
from training.evaluate.reports import (
    NEEDED_MINUTES,
    TEACHERS,
    builds_on_unknown,
    write_model_report,
)
from training.export.compression import flatten_scaling, pack, store_8_bits, store_half_precision
from training.export.quantization import PICTURES, drops, quantize
from training.fit.networks import build_network
from training.fit.pretrained import build_body
from training.fit.transfer import fold_normalization
from training.recipe import JOINED, WORDS, DataError, Recipe, find_recipe, load_recipe, parse_recipe
from training.runs import COMMAND, MODEL, History, load_run, read_history

# Relative to the largest logit: standardising a nearly uniform crop amplifies rounding.
LARGEST_DIFFERENCE = 2e-4
# Of a map, some of whose millions of positions see only an even part: a score differs by 0.005.
LARGEST_DIFFERENCE_OF_MAPS = 3e-3


class ParityError(ModelError):
    """Reject an export whose logits differ from those of the Keras model."""


def export(experiment: Experiment, folder: Path) -> Card:
    """Write the model folder of a finished run; calibrate and measure on the validation split.

    Files are moved there at the end, the card last: a failure leaves the previous model intact.
    Raises `DataError` for an unfinished run, `ParityError` if Keras and ONNX Runtime differ.
    """
    recipe, run = experiment.recipe, experiment.run
    for remark in _list_obstacles(recipe, folder):
        _tell(remark)
    _, trained = load_run(run)
    (train, validation), classes = experiment.splits, experiment.classes
    model = build_network(recipe, classes, normalization=None, any_size=recipe.takes_any_size)
    fold_normalization(trained, model)
    with tempfile.TemporaryDirectory(dir=run) as aside:
        made = Path(aside)
        _tell(f"{recipe.name}: writing its files")
        model.save(made / FILES["keras"])
        pack(made / FILES["keras"])
        # Keras exports only a model that has run before.
        batch = choose_batch(validation.pictures)
        expected = model.predict(validation.pictures, batch_size=batch, verbose=0)
        _export_onnx(model, made / FILES["onnx"])
        exact = run_network(_load(made, "onnx"), validation.pictures)
        _check_parity(expected, exact)
        card = _describe_model(recipe, run, describe_heads(recipe, classes, validation))
        card = _calibrate(recipe, card, made, train, validation, exact)
        return _complete(card, made, folder, read_history(run))


_tell = partial(click.echo, err=True)


def _list_obstacles(recipe: Recipe, folder: Path) -> Iterator[str]:
    """Yield what keeps a server from taking the model of a folder."""
    name, beside = recipe.name, folder.parent
    if folder.name != name:
        yield f"A server takes this model only from a folder named {name}: rename {folder} for it."
    missing = [f"models/{n}" for n in DETECTOR_FOLDERS if not (beside / n / CARD).is_file()]
    if recipe.region == "face" and name not in DETECTOR_FOLDERS and missing:
        yield f"To serve it, put the detector beside it: cp -r {' '.join(missing)} {beside}"


def quantize_model(folder: Path) -> Card:
    """Quantize a model folder's convolutions to 8 bits; calibrate and measure it again.

    If accuracy drops, the folder keeps only the float files. The card takes its texts from the
    recipe in training/recipes that fits the same network. Raises `DataError` if the card's data
    is missing or has other classes, `ModelError` for an invalid model or a card without a recipe.
    """
    card, recipe = _read_card(folder)
    train, validation = read_splits(recipe)
    classes = {name: list(names) for name, names in list_heads(recipe, validation).items()}
    if classes != {name: head.classes for name, head in card.outputs.items()}:
        raise DataError(f"{recipe.data.folder} has other classes than the model in {folder}.")
    with tempfile.TemporaryDirectory() as aside:
        made = Path(aside)
        for form in ("keras", "onnx", *(["body"] if card.feature_body else [])):
            (made / FILES[form]).write_bytes(read_verified(folder / FILES[form], card))
        exact = run_network(_load(made, "onnx"), validation.pictures)
        heads = describe_heads(recipe, classes, validation)
        uncalibrated = card.model_copy(update={"heads": heads, **_current_texts(card, recipe)})
        calibrated = _calibrate(recipe, uncalibrated, made, train, validation, exact)
        return _complete(calibrated, made, folder, card.figures["history"])


def recalibrate_model(folder: Path) -> Card:
    """Calibrate and measure a model folder again, by its recipe in training/recipes, if any.

    Only the card, its figures and README.md change. Raises `DataError` and `ModelError` as
    `quantize_model`, and `ModelError` where the recipe fits another network.
    """
    card, fitted = _read_card(folder)
    changes = _current_texts(card, fitted)
    if not changes and find_recipe(card.name).is_file():
        raise ModelError(f"The recipe {card.name} fits another network than the one in {folder}.")
    recipe = load_recipe(card.name) if changes else fitted
    validation = read_validation(recipe)
    heads = describe_heads(recipe, list_heads(recipe, validation), validation)
    changes |= recipe.model_dump(include={"default_head", "mirror_averaging"})
    card = card.model_copy(update={**changes, "heads": heads})
    with tempfile.TemporaryDirectory() as aside:
        made = Path(aside)
        for name in card.files:
            shutil.copyfile(folder / name, made / name)
        network = _load(made, choose_file("auto", card))
        logits = run_network(network, validation.pictures)
        card = calibrate_card(recipe, card, network, logits, validation)
        return _complete(card, made, folder, card.figures["history"])


def _read_card(folder: Path) -> tuple[Card, Recipe]:
    card = load_card(folder)
    if "recipe" not in card.training or "history" not in card.figures:
        raise ModelError(f"The card in {folder} doesn't say how its model was trained.")
    return card, parse_recipe(card.training["recipe"])


def _current_texts(card: Card, fitted: Recipe) -> dict[str, Any]:
    recipe = load_recipe(card.name) if find_recipe(card.name).is_file() else None
    if not (recipe and recipe.trains_like(fitted)):
        return {}
    training = card.training | _describe_recipe(recipe)
    return {"training": training, **{name: getattr(recipe, name) for name in WORDS}}


def _describe_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe and the command that fits it, with a `--set` for each changed key."""
    command = f"python -m training rebuild {recipe.name}.toml"
    if find_recipe(recipe.name).is_file():
        both = (recipe, load_recipe(recipe.name))
        ours, theirs = (_flatten(each.model_dump(mode="json", exclude=WORDS)) for each in both)
        changes = {key: value for key, value in ours.items() if theirs.get(key) != value}
        # JSON's values of these kinds are TOML's.
        settings = [shlex.quote(f"{key}={json.dumps(value)}") for key, value in changes.items()]
        way = "fit" if changes else "rebuild"
        command = " --set ".join([f"python -m training {way} {recipe.name}", *settings])
    return {"command": command, "recipe": recipe.model_dump(mode="json")}


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return section.key → value for all keys that have one."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        section = value and isinstance(value, dict)
        flat |= _flatten(value, f"{prefix}{key}.") if section else {prefix + key: value}
    return {key: value for key, value in flat.items() if value is not None}


def _complete(card: Card, made: Path, folder: Path, history: History) -> Card:
    """Measure a model's files, write its card and report, and move all to its folder."""
    if card.feature_body and not (made / FILES["body"]).is_file():
        _export_body(card.feature_body.name, card.size, made / FILES["body"])
    forms = [made / name for name in FILES.values() if (made / name).is_file()]
    files = {path.name: hash_file(path.read_bytes()) for path in forms}
    _tell(f"{card.name}: measuring it, also on changed pictures")
    card = card.model_copy(update={"files": files})
    write_card(made, card)
    command = f"python -m training verify {folder.parent}"
    figures = {**measure_model(made), "command": command, "history": history}
    card = card.model_copy(update={"figures": figures})
    write_card(made, card)
    write_model_report(made, card)
    files_made = [path for path in made.rglob("*") if path.is_file()]
    for file in sorted(files_made, key=lambda path: path.name == CARD):
        target = folder / file.relative_to(made)
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, methodcaller("write", file.read_bytes()))
    for name in FILES.values():
        if not (made / name).is_file():  # Nothing loads what the card doesn't name.
            (folder / name).unlink(missing_ok=True)
    return card


def _calibrate(
    recipe: Recipe, card: Card, made: Path, train: Split, validation: Split, exact: Logits
) -> Card:
    """Write the quantized file unless accuracy drops; calibrate the network that will be served.

    A network with another head than of classes is never quantized: it has no accuracy to compare.
    """
    if all(head.targets in ONE_CLASS for head in card.heads.values()):
        _tell(f"{card.name}: quantizing and calibrating it")
        file = made / FILES["int8"]
        quantize(made / FILES["onnx"], file, shape_pictures(train.spread(PICTURES), card.shape))
        network = _load(made, "int8")
        logits = run_network(network, validation.pictures)
        calibrated = calibrate_card(recipe, card, network, logits, validation)
        if not drops(compare_quantized(calibrated.heads, exact, logits, validation)):
            return calibrated
        file.unlink()
    return calibrate_card(recipe, card, _load(made, "onnx"), exact, validation)


def _load(made: Path, form: str) -> OnnxNetwork:
    return OnnxNetwork((made / FILES[form]).read_bytes(), threads=0)


def write_card(folder: Path, card: Card) -> None:
    """Write a model folder's card."""
    (folder / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _export_onnx(model: keras.Model, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras probes for np.object.
        model.export(path, format="onnx", verbose=False)
    store_half_precision(path)
    flatten_scaling(path)


def _export_body(name: str, size: int, path: Path) -> None:
    body = build_body(name, size)
    body.predict(np.zeros((1, size, size, 3), np.uint8), verbose=0)  # which exporting needs
    _export_onnx(body, path)
    store_8_bits(path)


def _check_parity(expected: Logits, logits: Logits) -> None:
    for name, values in expected.items():
        # Logits differ more than probabilities, so this is the stricter test.
        difference = float(np.abs(values - logits[name]).max())
        allowed = LARGEST_DIFFERENCE if values.ndim == 2 else LARGEST_DIFFERENCE_OF_MAPS
        if difference > allowed * max(1.0, float(np.abs(values).max())):
            raise ParityError(f"The ONNX export's {name} logits differ by {difference:.2g}.")


def describe_heads(recipe: Recipe, classes: Mapping[str, Sequence[str]], split: Split) -> Heads:
    """Return the heads before calibration; voted classes without labels are excluded.

    A head that joins two others gives both the same weight.
    """
    heads = {}
    for name, head in recipe.heads.items():
        missing = [each for each in classes[name] if each not in split.classes]
        excluded = missing if head.targets == "votes" else []
        heads[name] = Head(targets=head.targets, classes=list(classes[name]), excluded=excluded)
    if recipe.join:
        answered = list(split.classes)
        join = Join(
            weights=dict.fromkeys(recipe.join.heads, 0.5),
            prior=dict.fromkeys(answered, 1 / len(answered)),
            strength=0.0,
        )
        heads[JOINED] = Head(targets="votes", classes=answered, join=join)
    return heads


def _describe_model(recipe: Recipe, run: Path, heads: Heads) -> Card:
    data = recipe.data
    words = {"name", "task", "region", "default_head", "mirror_averaging", *WORDS}
    described = _describe_recipe(recipe)
    # A recipe of one's own may have been changed by the command alone.
    if (run / COMMAND).is_file() and not find_recipe(recipe.name).is_file():
        described["command"] = (run / COMMAND).read_text(encoding="utf-8")
    return Card(
        **recipe.model_dump(include=words),
        **data.model_dump(include={"size", "channels", "margin"}),
        heads=heads,
        files={},
        data=data.model_dump(include={"source", "licence", "leakage"}),
        training={
            **described,
            "date": f"{datetime.fromtimestamp((run / MODEL).stat().st_mtime, UTC):%Y-%m-%d}",
            "minutes": round(float(read_history(run)[-1]["seconds"]) / 60, 1),
            **_count_needed_minutes(recipe),
            TEACHERS: _describe_teachers(recipe),
            "processor": platform.machine(),
            "keras": keras.__version__,
        },
        figures={},
    )


def _count_needed_minutes(recipe: Recipe) -> dict[str, float]:
    folders = recipe.needed_models
    if not folders or not all((folder / CARD).is_file() for folder in folders):
        return {}
    trainings = [load_card(folder).training for folder in folders]
    if any(builds_on_unknown(training) for training in trainings):
        return {}
    minutes = sum(training["minutes"] + training.get(NEEDED_MINUTES, 0.0) for training in trainings)
    return {NEEDED_MINUTES: round(minutes, 1)}


def _describe_teachers(recipe: Recipe) -> list[dict[str, Any]]:
    folders = recipe.distillation.teachers if recipe.distillation else []
    return [
        {
            "name": card.name,
            "parameters": card.figures["speed"]["parameters"],
            "heads": {
                name: {key: figures[key] for key in ("accuracy", "count")}
                for name, figures in card.figures["heads"].items()
                if name in recipe.heads and "accuracy" in figures
            },
        }
        for card in (load_card(folder) for folder in folders if (folder / CARD).is_file())
    ]
