"""Mine hard negatives: fit the face classifier in rounds, and add each one's false positives.

Source: Felzenszwalb et al., "Object detection with discriminatively trained part-based models"
(2010), section 4.4.
"""

from itertools import pairwise
from pathlib import Path

from app.vision.detection.detector import FACE_CLASSIFIER
from app.vision.models.cards import CARD
from training.datasets.experiment import Experiment
from training.datasets.face_crops import prepare_candidates
from training.datasets.loading import PLACES_FILE
from training.export.exporting import export
from training.fit.trainer import fit
from training.recipe import Mining, Recipe, change_recipe


def mine(recipe: Recipe, mining: Mining, runs: Path) -> None:
    """Make the recipe's pictures if they are missing, and add each round's false positives.

    The rounds' runs are below `runs`. Calling it again resumes: a round whose next one has begun
    isn't repeated. To start over, remove the pictures with the runs. Raises `DataError` as
    preparing and fitting do.
    """
    folder = recipe.data.folder
    if not (folder / PLACES_FILE).is_file():
        prepare_candidates(mining.source, folder, recipe.seed)
    rounds = [runs / f"{recipe.name}-round-{number + 1}" for number in range(mining.rounds)]
    short = change_recipe(recipe, {"schedule.epochs": mining.epochs})
    for run, following in pairwise([*rounds, runs / recipe.name]):
        if following.exists():
            continue
        experiment = Experiment(short, run)
        if not experiment.is_finished:
            fit(experiment)
        models = run / "models"
        if not (models / FACE_CLASSIFIER / CARD).is_file():
            export(experiment, models / FACE_CLASSIFIER)
        prepare_candidates(mining.source, folder, recipe.seed, mistakes_of=models)
