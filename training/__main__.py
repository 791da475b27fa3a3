"""Run the training package: python -m training <command>."""

import json
import os
from pathlib import Path
from typing import Any

import click

from app.vision.cards import ModelError
from training.data import PARTS, DataError
from training.recipes import RecipeError

# TensorFlow tells of every processor feature it finds; only warnings are wanted. Set before any
# command imports it, which each does itself: an import takes seconds.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
TARGET = click.Path(path_type=Path)


class Commands(click.Group):
    """Answer a refusal with its sentence instead of a traceback."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except (DataError, RecipeError, ModelError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
def cli() -> None:
    """Build, measure and export the models that Raut serves."""


@cli.command()
@click.argument("recipe", required=False)
@click.option("--out", type=TARGET, help="The run's folder; runs/RECIPE by default.")
@click.option("--resume", type=FOLDER, help="Go on with the run in this folder.")
@click.option("--set", "changes", multiple=True, help="Change a key: schedule.epochs=10")
def fit(
    recipe: str | None, out: Path | None, resume: Path | None, changes: tuple[str, ...]
) -> None:
    """Fit a network by RECIPE, a name in training/recipes or a path."""
    from training import fitting
    from training.recipes import load_recipe

    if resume:
        if recipe or out or changes:
            raise click.UsageError("--resume goes on with the run's own recipe, given alone.")
        fitting.fit(fitting.load_recipe_of(resume), resume)
        return
    if not recipe:
        raise click.UsageError("Name a recipe, or a run with --resume.")
    chosen = load_recipe(recipe, changes)
    run = out or Path("runs") / chosen.name
    if (run / fitting.RECIPE).exists():
        raise click.UsageError(f"{run} holds a run already: go on with --resume {run}, or --out.")
    fitting.fit(chosen, run)


@cli.command()
@click.argument("model", type=FOLDER)
@click.argument("data", type=FOLDER)
@click.option("--split", default="validation", show_default=True, help="The part of DATA.")
@click.option("--json", "as_json", type=TARGET, help="Write the figures to a file.")
@click.option("--runtime", type=click.Choice(["auto", "keras", "onnx"]), default="auto")
def evaluate(model: Path, data: Path, split: str, as_json: Path | None, runtime: str) -> None:
    """Measure the MODEL folder on DATA/SPLIT/<class>/*.png or *.jpg."""
    from training import evaluation

    figures = evaluation.evaluate(model, data, split, runtime)
    text = json.dumps(figures, indent=2)
    if as_json:
        as_json.write_text(text + "\n", encoding="utf-8")
    click.echo(text)


@cli.command()
@click.argument("run", type=FOLDER)
@click.argument("model", type=TARGET)
def export(run: Path, model: Path) -> None:
    """Write the finished RUN as the MODEL folder, with card, figures and ONNX form."""
    from training import exporting

    card = exporting.export(run, model)
    for name, figures in card.figures["heads"].items():
        measured = ("accuracy", "centre", "size", "roll")
        text = ", ".join(f"{key} {figures[key]:.4f}" for key in measured if key in figures)
        click.echo(f"{name}: validation {text}")


@cli.command()
@click.argument("model", type=FOLDER)
@click.argument("images", nargs=-1, required=True, type=FILE)
def predict(model: Path, images: tuple[Path, ...]) -> None:
    """Answer for IMAGES that are crops already, as training pictures are."""
    from app.vision.classifiers import load_classifier
    from app.vision.crops import shape_crop
    from training.data import read_picture

    classifier = load_classifier(model)
    for image in images:
        crop = shape_crop(read_picture(image), classifier.card.shape)
        prediction = classifier.predict(crop[None])[0]
        unsure = "" if prediction.certain else "  (unsure)"
        click.echo(f"{image}  {prediction.label}  {prediction.probability:.3f}{unsure}")


@cli.command("detect-report")
@click.argument("data", type=FOLDER, metavar="DIR")
@click.option("--models", type=FOLDER, default="models", show_default=True)
@click.option("--out", type=TARGET, default="training/results/detection", show_default=True)
@click.option("--seed", default=1, show_default=True, help="As given to data prepare faces.")
@click.option("--limit", type=int, help="Pictures of each case at most; all by default.")
def detect_report(data: Path, models: Path, out: Path, seed: int, limit: int | None) -> None:
    """Measure finding faces on the validation part of the data sets in DIR, beside plain Haar."""
    from training.detection_report import write_detection_report

    for row in write_detection_report(data, models, out, seed, limit):
        recall = "" if row.recall is None else f"{row.recall:.1%}"
        click.echo(
            f"{row.case:<18}{row.detector:<10}{recall:>7}"
            f"{row.false_boxes:>8.4f}{row.milliseconds:>8.1f} ms"
        )


@cli.group()
def data() -> None:
    """Prepare and check data sets."""


@data.command()
@click.argument("folder", type=FOLDER)
def check(folder: Path) -> None:
    """Count FOLDER's pictures and list its faults; exit with status 1 if there are any."""
    from training.inspection import inspect

    counts, faults = inspect(folder)
    for part in PARTS:
        for name, count in counts.get(part, {}).items():
            click.echo(f"{part:<12}{name:<12}{count:>8}")
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        raise SystemExit(1)


@data.group()
def prepare() -> None:
    """Bring a download into the folder form DATA/<part>/<class>/*."""


@prepare.command()
@click.argument("source", type=FILE)
@click.argument("out", type=TARGET)
@click.option("--votes", type=FILE, help="FER+'s fer2013new.csv.")
def fer2013(source: Path, out: Path, votes: Path | None) -> None:
    """Write Kaggle's fer2013.csv or icml_face_data.csv as folders."""
    from training.preparation import prepare_fer2013

    click.echo(prepare_fer2013(source, votes, out))


@prepare.command()
@click.argument("source", type=FOLDER)
@click.argument("out", type=TARGET)
def folders(source: Path, out: Path) -> None:
    """Copy a data set that has part and class folders already."""
    from training.preparation import prepare_folders

    click.echo(prepare_folders(source, out))


@prepare.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=TARGET)
@click.option("--seed", default=1, show_default=True, help="Which pictures are held out.")
def utkface(source: Path, out: Path, seed: int) -> None:
    """Split UTKFace, a folder or tar file, by perceived gender, near-duplicates together."""
    from training.preparation import prepare_utkface

    click.echo(prepare_utkface(source, out, seed))


@prepare.command()
@click.argument("source", type=FOLDER)
@click.argument("out", type=TARGET)
@click.option("--seed", default=1, show_default=True, help="Which photos are held out.")
@click.option("--mistakes-of", type=FOLDER, metavar="MODELS", help="Add the verifier's mistakes.")
def faces(source: Path, out: Path, seed: int, mistakes_of: Path | None) -> None:
    """Cut the face verifier's crops from the data sets in the folder SOURCE.

    With --mistakes-of, only add what that verifier wrongly takes for faces, to fit it again.
    """
    from training.faces import prepare_faces, prepare_hard_faces

    if mistakes_of:
        click.echo(prepare_hard_faces(source, mistakes_of, out, seed))
    else:
        click.echo(prepare_faces(source, out, seed))


if __name__ == "__main__":
    cli()
