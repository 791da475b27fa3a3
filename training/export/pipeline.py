"""Build a model by its recipe, from the data to the model folder, after the models it needs."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from app.vision.detection.detector import FACE_CLASSIFIER
from app.vision.models.cards import CARD, Card, load_card
from training.datasets.experiment import Experiment
from training.datasets.face_crops import prepare_candidates
from training.datasets.loading import PLACES_FILE, list_classes
from training.datasets.ood import check_ood
from training.export.exporting import export
from training.fit.networks import check_network
from training.fit.trainer import fit
from training.recipe import (
    DataError,
    Mining,
    Recipe,
    change_recipe,
    find_recipe,
    load_recipe,
    parse_recipe,
)
from training.runs import is_finished, read_recipe

RUNS = Path("runs")
MODELS = Path("models")


def rebuild(name: str, folder: Path | None = None) -> Iterator[Card]:
    """Fit and export a recipe, given by its name or path; yield the card of each model made.

    The model goes to `folder`, models/<the recipe's name> by default. A missing teacher, or model
    to start from, is rebuilt first by the recipe of its folder's name beside this one. Re-running
    `rebuild` resumes it; finished runs are not fitted again. Raises `DataError` and `RecipeError`
    as fitting does, and if an existing run or needed model was fitted by another recipe.
    """
    recipe = load_recipe(name)
    # The data is checked before the teachers are trained.
    if not recipe.data.mining:  # which makes the data
        list_classes(recipe.data.folder, "train")
    check_ood(recipe.data.ood, recipe.seed)
    for model in recipe.needed_models:
        beside = str(Path(name).with_name(model.name).with_suffix(Path(name).suffix))
        # An export writes the card last.
        fitted = read_recipe(model) if is_finished(model) else None
        if (model / CARD).is_file():
            fitted = parse_recipe(load_card(model).training["recipe"])
        if fitted is None:
            yield from rebuild(beside, model)
        elif find_recipe(beside).is_file() and not fitted.trains_like(load_recipe(beside)):
            raise DataError(f"{model} was fitted by another recipe than {beside}. Move it away.")
    command = f"python -m training rebuild {name}"
    experiment = Experiment(recipe, RUNS / recipe.name, command=command)
    if not is_finished(experiment.run):
        check_network(recipe.network)
        if recipe.data.mining:
            mine(recipe, recipe.data.mining)
        fit(experiment)
    yield export(experiment, folder or MODELS / recipe.name)


def mine(recipe: Recipe, mining: Mining) -> None:
    """Make the recipe's pictures if they are missing; mine hard negatives, round after round.

    Each round fits the face classifier and adds its false positives to the pictures. Source:
    Felzenszwalb et al., "Object detection with discriminatively trained part-based models" (2010),
    section 4.4.

    The rounds' runs are below `RUNS`. Calling it again resumes: a round whose next one has begun
    isn't repeated. To start over, remove the pictures with the runs. Raises `DataError` as
    preparing and fitting do.
    """
    folder = recipe.data.folder
    if not (folder / PLACES_FILE).is_file():
        prepare_candidates(mining.source, folder, recipe.seed)
    rounds = [RUNS / f"{recipe.name}-round-{number + 1}" for number in range(mining.rounds)]
    short = change_recipe(recipe, {"schedule.epochs": mining.epochs})
    for run, following in pairwise([*rounds, RUNS / recipe.name]):
        if following.exists():
            continue
        experiment = Experiment(short, run)
        if not is_finished(experiment.run):
            fit(experiment)
        models = run / "models"
        if not (models / FACE_CLASSIFIER / CARD).is_file():
            export(experiment, models / FACE_CLASSIFIER)
        prepare_candidates(mining.source, folder, recipe.seed, mistakes_of=models)
