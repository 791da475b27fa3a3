"""Run the training package: python -m training <command>.

Each command imports what it needs: TensorFlow takes seconds to load.
"""

import errno
import json
import os
import shlex
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from app.errors import RautError
from app.ray_session import ENGINES, ExecutorName, RayError
from app.vision.models.cards import Card, ModelError
from app.vision.models.files import FILES
from training.recipe import DataError, RecipeError, load_recipe

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
TARGET = click.Path(path_type=Path)
RESULTS = Path(__file__).parent / "results"
FULL = os.strerror(errno.ENOSPC)
RESUME = "resume"  # in a context's `meta`: the command that resumes the running one


class Commands(click.Group):
    """Print a sentence instead of a traceback, and after an interruption how to resume."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except (DataError, RecipeError, ModelError, RautError, RayError) as error:
            raise click.ClickException(str(error)) from error
        except (KeyboardInterrupt, OSError) as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            if not interrupted and FULL not in str(error):  # HDF5 gives the error as text only.
                raise
            told = "Interrupted." if interrupted else "The disk is full. Make room."
            told += f" Resume it by: {command}" if (command := context.meta.get(RESUME)) else ""
            click.echo(f"Error: {told}", err=True)
            raise SystemExit(130 if interrupted else 1) from error


def _resumable_by(*command: object) -> None:
    told = " ".join(["python -m training", *map(str, command)])
    click.get_current_context().meta[RESUME] = told


def _require_empty(folder: Path, content: str, choice: str) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} holds {content} already: use {choice}.")


@click.group(cls=Commands)
def cli() -> None:
    """Build, measure and export the models that Raut serves."""


@cli.command()
@click.argument("recipe", required=False)
@click.option("--out", type=TARGET, help="The run's folder; runs/RECIPE by default.")
@click.option("--resume", type=FOLDER, help="Resume the run in this folder.")
@click.option("--set", "changes", multiple=True, help="Change a key: schedule.epochs=10")
@click.option("--tensorboard", is_flag=True, help="Also write event files for TensorBoard.")
def fit(
    recipe: str | None,
    out: Path | None,
    resume: Path | None,
    changes: tuple[str, ...],
    tensorboard: bool,
) -> None:
    """Fit a network by RECIPE, a name in training/recipes or a path."""
    from training.datasets.experiment import Experiment
    from training.fit import trainer
    from training.runs import RECIPE, read_recipe

    if resume:
        if recipe or out or changes:
            raise click.UsageError("--resume takes the run's own recipe: give it alone.")
        experiment = Experiment(read_recipe(resume), resume)
    elif recipe:
        chosen = load_recipe(recipe, changes)
        run = out or Path("runs") / chosen.name
        if (run / RECIPE).exists():
            raise click.UsageError(f"{run} holds a run: use --resume {run}, or another --out.")
        settings = [word for change in changes for word in ("--set", change)]
        command = shlex.join(["python", "-m", "training", "fit", recipe, *settings])
        experiment = Experiment(chosen, run, command=command)
    else:
        raise click.UsageError("Name a recipe, or a run with --resume.")
    _resumable_by("fit --resume", experiment.run)
    trainer.fit(experiment, tensorboard)


@cli.command()
@click.argument("model", type=FOLDER)
@click.argument("data", type=FOLDER)
@click.option("--split", default="validation", show_default=True, help="The split of DATA.")
@click.option("--json", "as_json", type=TARGET, help="Also write the figures to this file.")
def evaluate(model: Path, data: Path, split: str, as_json: Path | None) -> None:
    """Measure the MODEL folder on DATA/SPLIT/<class>/*.png or *.jpg."""
    from training.evaluate import network

    text = json.dumps(network.evaluate(model, data, split), indent=2)
    if as_json:
        as_json.write_text(text + "\n", encoding="utf-8")
    click.echo(text)


@cli.command()
@click.argument("run", type=FOLDER)
@click.argument("model", type=TARGET)
def export(run: Path, model: Path) -> None:
    """Write the finished RUN as the MODEL folder, with card, figures and ONNX forms."""
    from training.datasets.experiment import Experiment
    from training.export import exporting
    from training.runs import read_recipe

    _print_figures(exporting.export(Experiment(read_recipe(run), run), model))


@cli.command()
@click.argument("model", type=FOLDER)
def quantize(model: Path) -> None:
    """Quantize MODEL's convolutions to 8 bits unless accuracy drops, and measure it again."""
    from training.export import exporting

    card = exporting.quantize_model(model)
    _print_figures(card)
    if FILES["int8"] not in card.files:
        click.echo(f"{card.name}: 8-bit convolutions would lose accuracy, so it stays exact.")


@cli.command()
@click.argument("model", type=FOLDER)
def calibrate(model: Path) -> None:
    """Calibrate MODEL again on the validation data by its recipe, and measure it again."""
    from training.export import exporting

    _print_figures(exporting.recalibrate_model(model))


def _print_figures(card: Card) -> None:
    for name, figures in card.figures["heads"].items():
        measured = ("accuracy", "centre", "size", "roll")
        text = ", ".join(f"{key} {figures[key]:.4f}" for key in measured if key in figures)
        click.echo(f"{card.name}, {name}: validation {text}")


@cli.command()
@click.argument("recipe")
@click.option(
    "--out", type=TARGET, help="The model folder; models/NAME by default, by the recipe's."
)
def rebuild(recipe: str, out: Path | None) -> None:
    """Build the model of RECIPE from the data, after the models that it needs.

    RECIPE is a name in training/recipes or a path. Re-running `rebuild` resumes it.
    """
    from training.export import pipeline

    _resumable_by("rebuild", recipe, *(["--out", out] if out else []))
    for card in pipeline.rebuild(recipe, out):
        _print_figures(card)


@cli.command()
@click.argument("model", type=FOLDER)
@click.argument("images", nargs=-1, required=True, type=FILE)
@click.option("--crop", is_flag=True, help="Take each whole picture as the face's crop.")
def predict(model: Path, images: tuple[Path, ...], crop: bool) -> None:
    """Predict IMAGES: of a photo, its main face, which the detector in models/ finds."""
    from app.vision.imaging.crops import shape_crop
    from app.vision.models.classifiers import load_classifier
    from training.datasets.loading import read_picture
    from training.evaluate.end_to_end import LabelledPhoto, read_photos

    classifier = load_classifier(model)
    card = classifier.card
    for image in images:
        if crop or card.region == "image":
            found = classifier.predict(shape_crop(read_picture(image), card.shape)[None])[0]
        elif (read := next(read_photos(classifier, [LabelledPhoto(image, {})]))).reading:
            found = read.reading.predictions[card.task]
        else:
            click.echo(f"{image}  no face found; --crop takes the whole picture for one")
            continue
        unsure = "" if found.confident else f"  (unsure: below {found.threshold:.3f})"
        click.echo(f"{image}  {found.label}  {found.probability:.3f}{unsure}")


@cli.command()
@click.argument("folder", type=FOLDER, metavar="DATA_FOLDER")
@click.option("--name", required=True, help="The new model's name and task.")
@click.option("--region", type=click.Choice(["face", "image"]), default="face", show_default=True)
@click.option("--out", type=TARGET, help="models/NAME by default; runs/NAME-recipe for a recipe.")
@click.option("--curve", is_flag=True, help="Also measure with 5 to 50 samples of each class.")
@click.option("--recipe-only", is_flag=True, help="Write a recipe for `fit`, and its crops.")
def teach(
    folder: Path, name: str, region: str, out: Path | None, curve: bool, recipe_only: bool
) -> None:
    """Teach the classes that are folders of DATA_FOLDER to the features of a served model.

    Pictures in a sub-folder of a class are of one person or recording. See docs/teach.md.
    """
    from app.vision.pipeline import FaceAnalyzer
    from training.export import teach as teaching

    target = out or (Path("runs") / f"{name}-recipe" if recipe_only else Path("models") / name)
    if recipe_only:
        _require_empty(target, "files", "another --out")
    analyzer = FaceAnalyzer.load("models", needed=partial(teaching.choose_body, region=region))
    if recipe_only:
        tell = partial(click.echo, err=True)
        recipe = teaching.write_recipe(analyzer, folder, name, region, target, tell)
        click.echo(f"python -m training fit {recipe}")
    else:
        teaching.teach(analyzer, folder, name, region, target, click.echo, curve)


@cli.command()
@click.argument("name")
@click.option("--out", type=TARGET, help="Folder of the trainings; runs/ablation-NAME by default.")
def ablate(name: str, out: Path | None) -> None:
    """Fit a recipe without each of its switches in turn, by training/studies/ablations/NAME.toml.

    The table goes to training/results/ablation/NAME. Re-running `ablate` resumes it.
    """
    from training.studies import ablation

    _resumable_by("ablate", name, *(["--out", out] if out else []))
    ablation.ablate(
        ablation.load_ablation(name),
        f"python -m training ablate {name}",
        out or Path("runs") / f"ablation-{name}",
        RESULTS / "ablation" / name,
    )


@cli.command()
@click.argument("name")
@click.option(
    "--scale",
    type=click.Choice(["smoke", "reduced", "full"]),
    default="full",
    show_default=True,
    help="full: the paper's own; reduced: an hour or two on two cores; smoke: a trial of the code.",
)
@click.option("--resume", is_flag=True, help="Resume the study, or join its grid.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="local",
    show_default=True,
    help="This process, or Ray on this machine or on the cluster at RAY_ADDRESS.",
)
@click.option("--storage", help="Optuna's storage URL; a file in the work folder by default.")
@click.option("--data", "data_folder", type=FOLDER, help="Another folder of data.")
@click.option("--out", type=TARGET, help="Folder of its runs; runs/study-NAME-SCALE by default.")
def study(
    name: str,
    scale: str,
    resume: bool,
    engine: ExecutorName,
    storage: str | None,
    data_folder: Path | None,
    out: Path | None,
) -> None:
    """Repeat the published study NAME and compare its figures with the paper's.

    The report goes to training/results/NAME/DATE; that of a smoke run to its work folder.
    """
    from training.studies.study import load_study, run_study

    if storage and engine != "local":
        raise click.UsageError("--storage shares a grid by Optuna, --engine ray by Ray: give one.")
    load_study(name, scale)  # an unknown name is reported before the folder is checked
    work = out or Path("runs") / f"study-{name}-{scale}"
    if not resume:
        _require_empty(work, "this study", "--resume, or another --out")
    target = work / "results" if scale == "smoke" else RESULTS / name
    command = f"python -m training study {name} --scale {scale}"
    command += f" --engine {engine}" if engine != "local" else ""
    command += f" --data {data_folder}" if data_folder else ""
    _resumable_by(command.removeprefix("python -m training "), "--resume --out", work)
    warn = partial(click.echo, err=True)
    written = run_study(name, scale, work, target, command, data_folder, storage, engine, warn=warn)
    click.echo(f"{written / 'report.md'}")


@cli.command()
@click.argument("models", type=FOLDER, default="models")
def verify(models: Path) -> None:
    """Measure MODELS again from the data; exit with status 1 if a card's figures differ."""
    from training.export.verify_cards import verify_models

    differences = list(verify_models(models))
    if differences:
        raise click.ClickException("\n".join(differences))
    click.echo("Every figure and limit on the cards was found again.")


@cli.command("evaluate-photos")
@click.argument("folder", type=FOLDER)
@click.option("--model", type=FOLDER, default="models/expression", show_default=True)
@click.option("--margins", default="", help="Crop margins to try, as 0,0.1; the card's by default.")
@click.option("--sheet", type=TARGET, help="Draw the errors into this PNG, the surest first.")
@click.option("--most", type=click.IntRange(1), help="Maximum number of errors in it.")
def evaluate_photos(
    folder: Path, model: Path, margins: str, sheet: Path | None, most: int | None
) -> None:
    """Measure a MODEL end to end on the whole photos in FOLDER, which holds labels.csv.

    A face that isn't detected counts as an error.
    """
    from training.evaluate import end_to_end

    tried = [float(margin) for margin in margins.split(",") if margin]
    for row in end_to_end.evaluate_photos(model, folder, tried):
        click.echo(json.dumps(row))
    if sheet:
        end_to_end.draw_contact_sheet(model, folder, sheet, most)


@cli.command("evaluate-detector")
@click.argument("data", type=FOLDER, metavar="DIR")
@click.option("--models", type=FOLDER, default="models", show_default=True)
@click.option("--out", type=TARGET, default="training/results/detection", show_default=True)
@click.option("--seed", default=1, show_default=True, help="As given to data prepare faces.")
@click.option("--limit", type=int, help="Maximum number of photos of people.")
def evaluate_detector(data: Path, models: Path, out: Path, seed: int, limit: int | None) -> None:
    """Measure face detection on the validation split of the data in DIR, beside plain Haar."""
    from training.evaluate import detection

    for row in detection.evaluate_detector(data, models, out, seed, limit):
        recall = "" if row.recall is None else f"{row.recall:.1%}"
        click.echo(
            f"{row.case:<18}{row.detector:<10}{recall:>7}"
            f"{row.false_boxes:>8.4f}{row.milliseconds:>8.1f} ms"
        )


@cli.command("evaluate-faces")
@click.argument("data", type=FOLDER, metavar="DIR")
@click.option("--models", type=FOLDER, default="models", show_default=True)
@click.option("--out", type=TARGET, help="Folder for the tables.")
@click.option("--sheet", type=TARGET, help="Draw the false boxes into this PNG.")
def evaluate_faces(data: Path, models: Path, out: Path | None, sheet: Path | None) -> None:
    """Measure recall by kind of face and false boxes on hard-faces in DIR, beside plain Haar."""
    from training.evaluate import face_kinds

    kinds, false = face_kinds.evaluate_faces(data, models, out, sheet)
    for row in kinds:
        interval = f"{row.low:.1%} to {row.high:.1%}"
        click.echo(f"{row.detector:<10}{row.kind:<12}{row.faces:>5}{row.recall:>8.1%}  {interval}")
    for counted in false:
        where = "with" if counted.with_faces else "without"
        click.echo(
            f"{counted.detector:<10}{counted.false_boxes} false boxes in {counted.photos} photos "
            f"{where} faces, {counted.milliseconds} ms"
        )


@cli.group()
def data() -> None:
    """Prepare and check data sets."""


@data.command()
@click.argument("folder", type=FOLDER)
@click.option("--allow-leakage", is_flag=True, help="Report leakage without failing.")
def check(folder: Path, allow_leakage: bool) -> None:
    """Count FOLDER's pictures; exit with status 1 if it has faults or leakage.

    Also reports near-duplicates, class balance and picture sizes.
    """
    from training.datasets.inspection import inspect

    found = inspect(folder)
    for split, classes in found.counts.items():
        for name, count in classes.items():
            click.echo(f"{split:<12}{name:<12}{count:>8}")
    for remark in found.remarks:
        click.echo(remark)
    for fault in found.faults + [f"Leakage: {leak}" for leak in found.leakage]:
        click.echo(fault, err=True)
    if found.faults or (found.leakage and not allow_leakage):
        raise SystemExit(1)


@data.group()
def prepare() -> None:
    """Bring a download into the folder form DATA/<split>/<class>/*."""


OUT = click.Argument(["out"], type=TARGET)
SOURCE = click.Argument(["source"], type=FOLDER)
SOURCE_FILE = click.Argument(["source"], type=FILE)
SOURCE_PATH = click.Argument(["source"], type=click.Path(path_type=Path, exists=True))
SOURCES = click.Argument(["sources"], nargs=-1, required=True, type=FOLDER)
SHARE = click.Option(
    ["--validation"],
    type=click.FloatRange(0, 0.5, min_open=True),
    default=0.15,
    show_default=True,
    help="Share to hold out where SOURCE has no validation split.",
)
SEED = click.Option(["--seed"], default=1, show_default=True, help="Seed of the held-out part.")
VOTES = click.Option(["--votes"], type=FILE, help="FER+'s fer2013new.csv.")
MISTAKES = "Only add the false positives of the face classifier in MODELS."
MISTAKES_OF = click.Option(["--mistakes-of"], type=FOLDER, metavar="MODELS", help=MISTAKES)
# Command → function below training.datasets, its parameters, and what it does with SOURCE.
PREPARATIONS: dict[str, tuple[str, list[click.Parameter], str]] = {
    "fer2013": (
        "preparation.prepare_fer2013",
        [SOURCE_FILE, OUT, VOTES, SHARE, SEED],
        "Write Kaggle's fer2013.csv, icml_face_data.csv or train.csv, or the zip or tar file that "
        "holds it, as folders.",
    ),
    "folders": (
        "preparation.prepare_folders",
        [SOURCE_PATH, OUT, SHARE, SEED],
        "Copy a data set in class folders, a folder, zip or tar file, with splits or without.",
    ),
    "split": (
        "preparation.prepare_folders",
        [SOURCE_PATH, OUT, SHARE, SEED],
        "Split the class folders in SOURCE, a folder, zip or tar file, for training.",
    ),
    "utkface": (
        "preparation.prepare_utkface",
        [SOURCE_PATH, OUT, SEED],
        "Split UTKFace, a folder, zip or tar file, by perceived gender, near-duplicates together.",
    ),
    "synthetic-objects": (
        "synthetic_objects.prepare_synthetic_objects",
        [SOURCES, OUT, SEED],
        "Paste the cut-out pictures in the folders SOURCES onto the wallpapers among them.",
    ),
    "scenes": ("preparation.prepare_scenes", [OUT], "Copy scikit-image's pictures, to test OOD."),
    "manuals": (
        "preparation.prepare_manuals",
        [SOURCE, OUT],
        "Copy the pictures of the manuals in a folder: photos, pages, drawings, screens.",
    ),
    "faces": (
        "face_crops.prepare_faces",
        [SOURCE, OUT, SEED],
        "Cut the face refiner's crops from the data sets in a folder.",
    ),
    "candidates": (
        "face_crops.prepare_candidates",
        [SOURCE, OUT, SEED, MISTAKES_OF],
        "Cut the face classifier's crops, which the face refiner takes for faces.",
    ),
    "proposals": (
        "proposal_crops.prepare_proposals",
        [SOURCE, OUT, SEED],
        "Cut the proposer's crops from the data sets in a folder.",
    ),
}


def _prepare(function: str, **arguments: Any) -> None:
    module, name = function.split(".")
    counts = getattr(import_module(f"training.datasets.{module}"), name)(**arguments)
    for what, count in counts.items():
        if count:
            click.echo(f"{count:>8}  {what}")


for command, (function, parameters, text) in PREPARATIONS.items():
    callback = partial(_prepare, function)
    group = data if command == "split" else prepare
    group.add_command(click.Command(command, params=parameters, help=text, callback=callback))


if __name__ == "__main__":
    cli()
