"""Run the training package: python -m training <command>."""

import json
import os
from pathlib import Path
from typing import Any

import click

from app.ray_session import ENGINES, ExecutorName, RayError
from app.vision.models.cards import Card, ModelError
from app.vision.models.classifiers import FILES
from training.recipe import DataError, RecipeError, load_recipe

# TensorFlow tells of every processor feature it finds; only warnings are wanted. Set before any
# command imports it, which each does itself: an import takes seconds.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
TARGET = click.Path(path_type=Path)
RESULTS = Path(__file__).parent / "results"


class Commands(click.Group):
    """Answer a refusal with its sentence instead of a traceback."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except (DataError, RecipeError, ModelError, RayError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
def cli() -> None:
    """Build, measure and export the models that Raut serves."""


@cli.command()
@click.argument("recipe", required=False)
@click.option("--out", type=TARGET, help="The run's folder; runs/RECIPE by default.")
@click.option("--resume", type=FOLDER, help="Go on with the run in this folder.")
@click.option("--set", "changes", multiple=True, help="Change a key: schedule.epochs=10")
@click.option("--tensorboard", is_flag=True, help="Write the curves for TensorBoard too.")
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
    from training.runs import RECIPE

    if resume:
        if recipe or out or changes:
            raise click.UsageError("--resume goes on with the run's own recipe, given alone.")
        trainer.fit(Experiment.open(resume), tensorboard)
        return
    if not recipe:
        raise click.UsageError("Name a recipe, or a run with --resume.")
    chosen = load_recipe(recipe, changes)
    run = out or Path("runs") / chosen.name
    if (run / RECIPE).exists():
        raise click.UsageError(f"{run} holds a run already: go on with --resume {run}, or --out.")
    trainer.fit(Experiment(chosen, run), tensorboard)


@cli.command()
@click.argument("model", type=FOLDER)
@click.argument("data", type=FOLDER)
@click.option("--split", default="validation", show_default=True, help="The split of DATA.")
@click.option("--json", "as_json", type=TARGET, help="Write the figures to a file.")
@click.option("--runtime", type=click.Choice(["auto", "keras", "onnx"]), default="auto")
def evaluate(model: Path, data: Path, split: str, as_json: Path | None, runtime: str) -> None:
    """Measure the MODEL folder on DATA/SPLIT/<class>/*.png or *.jpg."""
    from training.evaluate import network

    figures = network.evaluate(model, data, split, runtime)
    text = json.dumps(figures, indent=2)
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

    _tell_figures(exporting.export(Experiment.open(run), model))


@cli.command()
@click.argument("model", type=FOLDER)
def quantize(model: Path) -> None:
    """Give the MODEL folder 8-bit convolutions where they lose nothing, and measure it anew."""
    from training.export import exporting

    card = exporting.quantize_model(model)
    _tell_figures(card)
    if FILES["int8"] not in card.files:
        click.echo(f"{card.name}: 8-bit convolutions would lose, so it stays exact.")


def _tell_figures(card: Card) -> None:
    """Print each head's main figures."""
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
    """Build the model of RECIPE anew, from the data to its folder, and its teachers first.

    RECIPE is a name in training/recipes or a path. A rebuilding that was stopped goes on where it
    was.
    """
    from training.export import pipeline

    for card in pipeline.rebuild(recipe, out):
        _tell_figures(card)


@cli.command()
@click.argument("model", type=FOLDER)
@click.argument("images", nargs=-1, required=True, type=FILE)
def predict(model: Path, images: tuple[Path, ...]) -> None:
    """Answer for IMAGES that are crops already, as training pictures are."""
    from app.vision.imaging.crops import shape_crop
    from app.vision.models.classifiers import load_classifier
    from training.datasets.loading import read_picture

    classifier = load_classifier(model)
    for image in images:
        crop = shape_crop(read_picture(image), classifier.card.shape)
        prediction = classifier.predict(crop[None])[0]
        unsure = "" if prediction.confident else "  (unsure)"
        click.echo(f"{image}  {prediction.label}  {prediction.probability:.3f}{unsure}")


@cli.command()
@click.argument("name")
@click.option("--out", type=TARGET, help="Folder of the trainings; runs/ablation-NAME by default.")
def ablate(name: str, out: Path | None) -> None:
    """Fit a recipe without each of its switches in turn, as training/ablations/NAME.toml says.

    The table goes to training/results/ablation/NAME. A stopped ablation goes on where it was.
    """
    from training.studies import ablation

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
    help="The paper's own; what two cores do in an hour or two; a trial of the code.",
)
@click.option("--resume", is_flag=True, help="Go on where it was stopped, or join its grid.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="local",
    show_default=True,
    help="One process, or Ray on this machine or the cluster at RAY_ADDRESS.",
)
@click.option("--storage", help="Optuna's address of the grid; a file in the work folder else.")
@click.option("--data", "data_folder", type=FOLDER, help="Another folder of data.")
@click.option("--out", type=TARGET, help="Its trainings; runs/study-NAME-SCALE by default.")
@click.option("--results", type=TARGET, help="training/results/NAME by default, but for smoke.")
def study(
    name: str,
    scale: str,
    resume: bool,
    engine: ExecutorName,
    storage: str | None,
    data_folder: Path | None,
    out: Path | None,
    results: Path | None,
) -> None:
    """Repeat the published study NAME and set its figures beside the paper's.

    The report goes to training/results/NAME/DATE; of a smoke run, which only tries the code,
    into its work folder.
    """
    from training.studies.study import load_study, run_study

    if storage and engine != "local":
        raise click.UsageError("--storage shares a grid by Optuna, --engine ray by Ray: give one.")
    load_study(name, scale)  # an unknown name is refused before the folder is looked at
    work = out or Path("runs") / f"study-{name}-{scale}"
    if work.is_dir() and any(work.iterdir()) and not resume:
        raise click.UsageError(f"{work} holds this study already: --resume goes on, or give --out.")
    target = results or (work / "results" if scale == "smoke" else RESULTS / name)
    written = run_study(
        name,
        scale,
        work,
        target,
        f"python -m training study {name} --scale {scale}"
        + (f" --engine {engine}" if engine != "local" else "")
        + (f" --data {data_folder}" if data_folder else ""),
        data_folder,
        storage,
        engine,
        warn=lambda sentence: click.echo(sentence, err=True),
    )
    click.echo(f"{written / 'report.md'}")


@cli.command()
@click.argument("models", type=FOLDER, default="models")
def verify(models: Path) -> None:
    """Measure MODELS anew from the data; exit with status 1 where a card says otherwise."""
    from training.export.verify_cards import verify_models

    differences = list(verify_models(models))
    for difference in differences:
        click.echo(difference, err=True)
    if differences:
        raise SystemExit(1)
    click.echo("Every figure and limit on the cards was found again.")


@cli.command("evaluate-photos")
@click.argument("folder", type=FOLDER)
@click.option("--model", type=FOLDER, default="models/expression", show_default=True)
@click.option("--margins", default="", help="Crop margins to try, as 0,0.1; the card's by default.")
@click.option("--sheet", type=TARGET, help="Draw what a head got wrong into this PNG.")
def evaluate_photos(folder: Path, model: Path, margins: str, sheet: Path | None) -> None:
    """Measure a MODEL from whole photos to answers, on FOLDER with its labels.csv.

    A face that isn't found counts as an error.
    """
    from training.evaluate import end_to_end

    for row in end_to_end.evaluate_photos(
        model, folder, [float(m) for m in margins.split(",") if m]
    ):
        click.echo(json.dumps(row))
    if sheet:
        end_to_end.draw_contact_sheet(model, folder, sheet)


@cli.command("evaluate-detector")
@click.argument("data", type=FOLDER, metavar="DIR")
@click.option("--models", type=FOLDER, default="models", show_default=True)
@click.option("--out", type=TARGET, default="training/results/detection", show_default=True)
@click.option("--seed", default=1, show_default=True, help="As given to data prepare faces.")
@click.option("--limit", type=int, help="Photos of people at most; all by default.")
def evaluate_detector(data: Path, models: Path, out: Path, seed: int, limit: int | None) -> None:
    """Measure finding faces on the validation split of the data sets in DIR, beside plain Haar."""
    from training.evaluate import detection

    for row in detection.evaluate_detector(data, models, out, seed, limit):
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
@click.option("--allow-leakage", is_flag=True, help="Tell pictures in two splits, but don't fail.")
def check(folder: Path, allow_leakage: bool) -> None:
    """Count FOLDER's pictures and list its faults and leakage; exit with status 1 if there are any.

    Near-duplicates, the balance of classes and the sizes are told too.
    """
    from training.datasets.inspection import inspect

    found = inspect(folder)
    for split, classes in found.counts.items():
        for name, count in classes.items():
            click.echo(f"{split:<12}{name:<12}{count:>8}")
    for remark in found.remarks:
        click.echo(remark)
    for fault in found.faults:
        click.echo(fault, err=True)
    for leak in found.leakage:
        click.echo(f"Leakage: {leak}", err=True)
    if found.faults or (found.leakage and not allow_leakage):
        raise SystemExit(1)


@data.group()
def prepare() -> None:
    """Bring a download into the folder form DATA/<split>/<class>/*."""


@prepare.command()
@click.argument("source", type=FILE)
@click.argument("out", type=TARGET)
@click.option("--votes", type=FILE, help="FER+'s fer2013new.csv.")
def fer2013(source: Path, out: Path, votes: Path | None) -> None:
    """Write Kaggle's fer2013.csv or icml_face_data.csv as folders."""
    from training.datasets.preparation import prepare_fer2013

    click.echo(prepare_fer2013(source, votes, out))


@prepare.command()
@click.argument("source", type=FOLDER)
@click.argument("out", type=TARGET)
def folders(source: Path, out: Path) -> None:
    """Copy a data set that has split and class folders already."""
    from training.datasets.preparation import prepare_folders

    click.echo(prepare_folders(source, out))


@prepare.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.argument("out", type=TARGET)
@click.option("--seed", default=1, show_default=True, help="Which pictures are held out.")
def utkface(source: Path, out: Path, seed: int) -> None:
    """Split UTKFace, a folder or tar file, by perceived gender, near-duplicates together."""
    from training.datasets.preparation import prepare_utkface

    click.echo(prepare_utkface(source, out, seed))


@prepare.command()
@click.argument("sources", nargs=-1, required=True, type=FOLDER)
@click.argument("out", type=TARGET)
@click.option("--seed", default=1, show_default=True, help="Which pictures are held out.")
def things(sources: tuple[Path, ...], out: Path, seed: int) -> None:
    """Paste the cut-out pictures in the folders SOURCES onto the wallpapers among them."""
    from training.datasets.synthetic_objects import prepare_synthetic_objects

    click.echo(prepare_synthetic_objects(list(sources), out, seed))


@prepare.command()
@click.argument("out", type=TARGET)
def scenes(out: Path) -> None:
    """Copy scikit-image's pictures, which show no class of a network of whole pictures."""
    from training.datasets.preparation import prepare_scenes

    click.echo(prepare_scenes(out))


@prepare.command()
@click.argument("source", type=FOLDER)
@click.argument("out", type=TARGET)
def manuals(source: Path, out: Path) -> None:
    """Copy the pictures of the manuals in the folder SOURCE: photos, pages, drawings, screens."""
    from training.datasets.preparation import prepare_manuals

    click.echo(prepare_manuals(source, out))


@prepare.command()
@click.argument("source", type=FOLDER)
@click.argument("out", type=TARGET)
@click.option("--seed", default=1, show_default=True, help="Which photos are held out.")
@click.option(
    "--mistakes-of", type=FOLDER, metavar="MODELS", help="Add the face classifier's mistakes."
)
def faces(source: Path, out: Path, seed: int, mistakes_of: Path | None) -> None:
    """Cut the face classifier's crops from the data sets in the folder SOURCE.

    With --mistakes-of, only add what that face classifier wrongly takes for faces, to fit it again.
    """
    from training.datasets.face_crops import prepare_faces, prepare_hard_faces

    if mistakes_of:
        click.echo(prepare_hard_faces(source, mistakes_of, out, seed))
    else:
        click.echo(prepare_faces(source, out, seed))


if __name__ == "__main__":
    cli()
