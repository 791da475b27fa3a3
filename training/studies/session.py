"""Define what a study's module gets and returns, and train and measure for it."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import keras
import numpy as np
from pydantic import Field
from sklearn.metrics import confusion_matrix

from training.datasets.experiment import Experiment, Splits
from training.datasets.inspection import Inspection
from training.datasets.loading import Split
from training.evaluate.metrics import find_recalls
from training.fit.trainer import fit
from training.recipe import Recipe, StrictModel
from training.runs import BEST, CHECKPOINT, History, is_finished, load_run, read_history
from training.studies.executors import Executor

LABELS_HEAD = "label"  # the only head of the networks that only a study fits
Point = dict[str, Any]  # one combination of a grid's values
Curves = dict[str, list[float]]  # a training's losses and accuracies, with a value for each epoch
Result = TypeVar("Result")


class PaperFigure(StrictModel):
    """Hold one of the paper's figures, the name of ours, and why the two differ."""

    figure: str
    value: str
    ours: str
    form: Literal["share", "seconds", "number"] = "share"
    why: str


class Published(StrictModel):
    """Hold one of the paper's tables: in each row the values of `keys`, then the figure.

    `figure` and `keys` are columns of results.csv; `fixed` holds the values of further ones.
    """

    title: str
    figure: str
    form: Literal["share", "seconds"] = "share"
    fixed: dict[str, Any] = Field(default_factory=dict)
    keys: list[str]
    rows: list[list[Any]]


class Scale(StrictModel):
    """Hold the values of a scale smaller than the paper's, and what they change."""

    grid: dict[str, list[Any]] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    recipe: dict[str, Any] = Field(default_factory=dict)
    differences: list[str] = Field(default_factory=list)


class Study(StrictModel):
    """Hold a study's grid, its module's other options, and the paper's figures."""

    title: str
    question: str
    grid: dict[str, list[Any]]
    options: dict[str, Any] = Field(default_factory=dict)
    bases: list[str] = Field(default_factory=list)  # pretrained bodies
    differences: list[str]
    paper: list[PaperFigure]
    published: list[Published] = Field(default_factory=list)
    recipe: dict[str, Any]
    smoke: Scale  # a trial of the code that takes seconds
    reduced: Scale | None = None  # one or two hours on two cores, if the full scale takes longer


@dataclass
class Trial:
    """Hold the results of one training.

    `row` is its row of results.csv, `history` has a row per epoch. `logits` (count, classes) and
    `labels` (count,) are those of the measured split, whose classes `classes` names in order.
    """

    name: str
    row: dict[str, Any]
    history: History
    logits: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    @property
    def confusion(self) -> np.ndarray:
        """The confusion matrix, a row per true class: int (classes, classes)."""
        return confuse(self.logits, self.labels)

    @property
    def accuracy(self) -> float:
        """The share of right predictions."""
        return float(np.mean(self.logits.argmax(axis=1) == self.labels))

    @property
    def recalls(self) -> dict[str, float]:
        """Each class's recall, by its name in results.csv."""
        shares = zip(self.classes, find_recalls(self.confusion), strict=True)
        return {f"recall_{name}": round(float(share), 4) for name, share in shares}

    @property
    def recall_counts(self) -> dict[str, int]:
        """The number of pictures of which each recall is a share."""
        return dict(zip(self.recalls, self.confusion.sum(axis=1).tolist(), strict=True))


@dataclass
class Findings:
    """Collect a study's results.

    `rows` become results.csv, `figures` are compared with the paper's by the names in the TOML,
    `counts` are the predictions of which some figures are shares, `histories` the curves of each
    training, `sections` are the report's in Markdown, `missing` says what could not run.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    histories: dict[str, Curves] = field(default_factory=dict)
    sections: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Session:
    """Hold a running study: its definition, recipe and data, its folders and its executor."""

    name: str
    scale: str
    study: Study
    recipe: Recipe
    inspection: Inspection  # of the data
    bases: tuple[str, ...]  # those whose weights are available
    work: Path
    results: Path
    command: str
    storage: str | None
    executor: Executor

    def fit(
        self,
        point: Point,
        recipe: Recipe,
        splits: Splits,
        test: Split | None = None,
        shorter: Path | None = None,
        name: str = "",
    ) -> Trial:
        """Train at one point of the grid; measure on `test`, by default the validation split.

        The run's folder has the name `name`, by default the point's. `shorter` is as in `train`.
        """
        name = name or name_point(point)
        measured = test or splits[1]
        history = train(recipe, self.work / name, splits, shorter)
        logits = predict_run(self.work / name, measured)
        row = {**point, **describe_end(history)}
        return Trial(name, row, history, logits, measured.labels, measured.classes)

    def map_by_epochs(
        self, measure: Callable[[Point, Path | None], Result], points: list[Point]
    ) -> list[Result]:
        """Measure the grid's points in the executor; return the results in their order.

        Points that differ only by their epochs are measured in sequence, as one training continues
        another: `measure` gets a point and the run of the point before it, or None.
        """
        chains: dict[str, list[Point]] = {}
        for point in points:
            chains.setdefault(name_point({**point, "epochs": None}), []).append(point)
        work = partial(_measure_chain, measure, self.work)
        by_name: dict[str, Result] = {}
        for found in self.executor.map(work, list(chains.values())):
            by_name |= found
        return [by_name[name_point(point)] for point in points]


def _measure_chain(
    measure: Callable[[Point, Path | None], Result], work: Path, chain: list[Point]
) -> dict[str, Result]:
    found, shorter = {}, None
    for point in chain:
        name = name_point(point)
        found[name], shorter = measure(point, shorter), work / name
    return found


def iterate_grid(grid: dict[str, list[Any]]) -> Iterator[Point]:
    """Yield each combination of a grid's values; the last key changes first."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def name_point(point: Point) -> str:
    """Return the name of a point's folder, made of its values."""
    return "-".join(f"{key}={value}" for key, value in point.items()).replace(" ", "-")


def train(
    recipe: Recipe, run: Path, splits: Splits | None = None, shorter: Path | None = None
) -> History:
    """Fit a recipe, resuming the run; a finished run is kept. Return the history.

    `splits` are training and validation in memory; without them the recipe's folder is read.
    `shorter` is a finished run with fewer epochs: if the learning rate is constant, the longer
    training takes the same steps up to there, and starts from its checkpoint. Raises `DataError`
    if `run` was fitted by another recipe.
    """
    experiment = Experiment(recipe, run, splits)
    if not is_finished(run):
        if shorter and recipe.schedule.decay == "none" and not (run / CHECKPOINT).is_file():
            run.mkdir(parents=True, exist_ok=True)
            if recipe.schedule.keep_best:
                shutil.copyfile(shorter / BEST, run / BEST)
            aside = run / f"{CHECKPOINT}.copy"
            shutil.copyfile(shorter / CHECKPOINT, aside)
            aside.replace(run / CHECKPOINT)
        fit(experiment)
    return read_history(run)


def predict_run(run: Path, split: Split) -> np.ndarray:
    """Return a finished run's logits for a split: float32 (count, classes)."""
    return predict_head(load_run(run)[1], LABELS_HEAD, split)


def predict_head(network: keras.Model, head: str, split: Split) -> np.ndarray:
    """Return a head's logits for a split: float32 (count, classes)."""
    return np.asarray(network.predict(split.pictures, batch_size=64, verbose=0)[head])


def confuse(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the confusion matrix, a row per true class: int (classes, classes)."""
    answers, classes = logits.argmax(axis=1), range(logits.shape[1])
    return np.asarray(confusion_matrix(labels, answers, labels=classes))


def list_curves(history: History, head: str = LABELS_HEAD) -> Curves:
    """Return the losses and a head's accuracies, by their names in results.csv."""
    columns = {
        "training_accuracy": f"accuracy_{head}",
        "validation_accuracy": f"validation_accuracy_{head}",
        "training_loss": "loss",
        "validation_loss": "validation_loss",
    }
    return {name: [row[column] for row in history] for name, column in columns.items()}


def describe_end(history: History, head: str = LABELS_HEAD) -> dict[str, Any]:
    """Return the last epoch's figures by their names in results.csv."""
    last = {name: values[-1] for name, values in list_curves(history, head).items()}
    return {"epochs_run": len(history), **last, "seconds": history[-1]["seconds"]}
