"""Repeat a published study by one command, and set its figures beside the paper's.

A study is training/studies/<name>.toml (its grid, the paper's figures, what differs here and why)
and a module of the same name whose `run` trains and measures. What all of them need is here.
"""

import csv
import datetime
import importlib
import importlib.metadata
import itertools
import json
import platform
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import keras
import numpy as np
from pydantic import Field, ValidationError
from sklearn.metrics import confusion_matrix

from app.ray_session import ExecutorName
from bench.machine import describe_hardware
from training.datasets.inspection import Inspection, inspect
from training.datasets.loading import DataError, Split
from training.evaluate.metrics import find_recalls
from training.evaluate.reports import FIGURES, draw_confusion, draw_curves, write_table
from training.fit.checkpoints import CHECKPOINT
from training.fit.pretrained import FULL_PRECISION, WeightsError, load_base
from training.fit.trainer import BEST, fit, fit_parts, is_finished, load_run, read_history
from training.recipe import Recipe, RecipeError, StrictModel, change_recipe, parse_recipe
from training.studies.executors import Engine, open_engine

STUDIES = Path(__file__).parent
PACKAGES = ("keras", "tensorflow-cpu", "numpy", "scikit-learn", "optuna")
LABELS_HEAD = "label"  # the one head of the networks that only a study fits
Found = TypeVar("Found")


class PaperFigure(StrictModel):
    """Hold one of the paper's figures, the name of ours, and why the two differ."""

    figure: str
    value: str
    ours: str
    form: Literal["share", "seconds", "number"] = "share"
    why: str


class Scale(StrictModel):
    """Say what is smaller than in the paper's protocol, and why it is."""

    grid: dict[str, list[Any]] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    recipe: dict[str, Any] = Field(default_factory=dict)
    differences: list[str] = Field(default_factory=list)


class Study(StrictModel):
    """Hold a study's grid, what its module needs besides, and the paper's figures."""

    title: str
    question: str
    grid: dict[str, list[Any]]
    options: dict[str, Any] = Field(default_factory=dict)
    # Pretrained bodies, whose weights are looked for before it starts.
    bases: list[str] = Field(default_factory=list)
    differences: list[str]
    paper: list[PaperFigure]
    recipe: dict[str, Any]
    smoke: Scale  # a trial of the code that takes seconds
    # What two cores do in an hour or two, where the whole takes longer.
    reduced: Scale | None = None


@dataclass(frozen=True)
class Session:
    """Say where a study works and writes, and what it has at hand."""

    name: str
    scale: str
    work: Path
    results: Path
    command: str
    storage: str | None
    bases: tuple[str, ...]
    engine: Engine
    inspection: Inspection  # of the data

    @property
    def features(self) -> Path:
        """Return the folder of the frozen bases' features."""
        return self.work / "features"

    def figure(self, name: str) -> Path:
        """Return where a figure of the report is to be drawn."""
        folder = self.results / FIGURES
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.png"


@dataclass
class Findings:
    """Collect what a study found.

    `rows` become results.csv, `figures` stand beside the paper's under the names that its TOML
    gives, `sections` are Markdown for the report, `missing` says what could not be run.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    sections: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """Hold what was found at one point of a grid.

    `row` is what results.csv says of it, `history` a row an epoch; `classes` name the rows and
    columns of `confusion`, int (classes, classes), whose rows are the right ones.
    """

    name: str
    row: dict[str, Any]
    history: list[dict[str, Any]]
    confusion: np.ndarray
    classes: tuple[str, ...]


class StudyModule(Protocol):
    """Describe what a module in training/studies gives."""

    def run(self, study: Study, recipe: Recipe, session: Session) -> Findings:
        """Train and measure all that the study compares."""


def list_studies() -> list[str]:
    """Name all studies."""
    return sorted(path.stem for path in STUDIES.glob("*.toml"))


def load_study(name: str, scale: str) -> Study:
    """Read a study's TOML, with the smaller values of a scale other than "full".

    Raises `RecipeError` for an unknown name, a file that isn't right, or a scale that the study
    doesn't have.
    """
    path = STUDIES / f"{name}.toml"
    if not path.is_file():
        raise RecipeError(f"There is no study {name!r}. Choose one of {', '.join(list_studies())}.")
    try:
        study = Study.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise RecipeError(f"{path}: {error}") from error
    if scale == "full":
        return study
    smaller = study.smoke if scale == "smoke" else study.reduced
    if smaller is None:
        raise RecipeError(f"The study {name!r} has no scale {scale!r}: choose smoke or full.")
    study.grid |= smaller.grid
    study.options |= smaller.options
    study.bases = study.options.get("bases", study.bases)
    study.differences += smaller.differences
    study.recipe = change_recipe(parse_recipe(study.recipe), smaller.recipe).model_dump(mode="json")
    return study


def run_study(
    name: str,
    scale: str,
    work: Path,
    results: Path,
    command: str,
    data: Path | None = None,
    storage: str | None = None,
    engine: ExecutorName = "local",
    tell: Any = print,
) -> Path:
    """Carry a study out, on from where `work` left it, and write its results.

    Returns the folder of results: `results`/<date>. `tell` gets a sentence for each network whose
    weights can't be had and for each fault of the data, before anything is trained. Raises
    `RecipeError`, `DataError`, also for the same pictures in two parts unless the recipe drops
    them, and `RayError` as `open_engine` does.
    """
    study = load_study(name, scale)
    recipe = parse_recipe(study.recipe)
    if data:
        recipe = change_recipe(recipe, {"data.folder": str(data)})
    bases, missing = _find_bases(study.bases)
    for sentence in missing:
        tell(sentence)
    inspection = inspect(recipe.data.folder)
    for fault in inspection.faults + inspection.leakage:
        tell(fault)
    if inspection.leakage and recipe.data.leakage == "refuse":
        raise DataError(f"{recipe.data.folder}: {inspection.leakage[0]} Mend that first.")
    folder = results / datetime.datetime.now(datetime.UTC).date().isoformat()
    work.mkdir(parents=True, exist_ok=True)
    module: StudyModule = importlib.import_module(f"training.studies.{name.replace('-', '_')}")
    with open_engine(engine) as opened:
        session = Session(name, scale, work, folder, command, storage, bases, opened, inspection)
        findings = module.run(study, recipe, session)
    findings.missing = missing + findings.missing
    write_results(study, recipe, session, findings)
    return folder


def _find_bases(names: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Split pretrained bodies into those at hand and sentences on the others."""
    found, missing = [], []
    for name in names:
        try:
            load_base(name, FULL_PRECISION)
            found.append(name)
        except WeightsError as error:
            missing.append(str(error))
    return tuple(found), missing


def iterate_grid(grid: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Give each combination of a grid's values, the last key changing first."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def name_trial(values: dict[str, Any]) -> str:
    """Name a trial's folder by its values."""
    return "-".join(f"{key}={value}" for key, value in values.items()).replace(" ", "-")


def map_chains(
    session: Session,
    measure: Callable[[dict[str, Any], Path | None], Found],
    points: list[dict[str, Any]],
) -> list[Found]:
    """Let the session's engine measure a grid's points; return what was found in their order.

    Points that differ by their epochs only stay together, as one training goes on from another:
    `measure` gets a point, and the run of the one before it or None. Each point's run is in the
    work folder under the point's name.
    """
    chains: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        others = {key: value for key, value in point.items() if key != "epochs"}
        chains.setdefault(name_trial(others), []).append(point)
    work = partial(_measure_chain, measure, session.work)
    found = {
        name_trial(point): result
        for chain, results in zip(
            chains.values(), session.engine.map(work, list(chains.values())), strict=True
        )
        for point, result in zip(chain, results, strict=True)
    }
    return [found[name_trial(point)] for point in points]


def _measure_chain(
    measure: Callable[[dict[str, Any], Path | None], Found],
    work: Path,
    chain: list[dict[str, Any]],
) -> list[Found]:
    """Measure points one after another, each with the run of the one before."""
    runs = [None, *(work / name_trial(point) for point in chain)]
    return [measure(point, shorter) for point, shorter in zip(chain, runs, strict=False)]


def train(
    recipe: Recipe,
    run: Path,
    parts: tuple[Split, Split] | None = None,
    shorter: Path | None = None,
) -> list[dict[str, Any]]:
    """Fit a recipe unless `run` holds it finished; go on where it was stopped.

    `parts` are training and validation in memory; without them the recipe's folder is read.
    `shorter` is a finished run that differs by fewer epochs only: with a learning rate that stays
    the same, the longer training takes the same steps up to there, and begins after them.
    Returns the history. Raises `DataError` where `run` was fitted by another recipe.
    """
    if not is_finished(run, recipe):
        if shorter and recipe.schedule.decay == "none" and not (run / CHECKPOINT).is_file():
            run.mkdir(parents=True, exist_ok=True)
            if recipe.schedule.keep_best:
                shutil.copyfile(shorter / BEST, run / BEST)
            aside = run / f"{CHECKPOINT}.copy"
            shutil.copyfile(shorter / CHECKPOINT, aside)
            aside.replace(run / CHECKPOINT)
        if parts:
            fit_parts(recipe, run, *parts)
        else:
            fit(recipe, run)
    return read_history(run)


def answer_part(run: Path, part: Split) -> np.ndarray:
    """Return a finished run's logits for a part: float32 (count, classes)."""
    _, network = load_run(run)
    return ask_network(network, LABELS_HEAD, part)


def ask_network(network: keras.Model, head: str, part: Split) -> np.ndarray:
    """Return a head's logits for a part: float32 (count, classes)."""
    logits: np.ndarray = network.predict(part.pictures, batch_size=64, verbose=0)[head]
    return logits


def confuse(logits: np.ndarray, part: Split) -> np.ndarray:
    """Return the confusion matrix, rows being the right classes: int (classes, classes)."""
    confusion: np.ndarray = confusion_matrix(
        part.labels, logits.argmax(axis=1), labels=range(len(part.classes))
    )
    return confusion


def find_accuracy(confusion: np.ndarray) -> float:
    """Return the share of right answers."""
    return float(np.trace(confusion) / confusion.sum())


def describe_end(history: list[dict[str, Any]], head: str = LABELS_HEAD) -> dict[str, Any]:
    """Return the last epoch's figures under the names of results.csv."""
    last = history[-1]
    return {
        "epochs_run": len(history),
        "training_accuracy": last[f"accuracy_{head}"],
        "validation_accuracy": last[f"validation_accuracy_{head}"],
        "training_loss": last["loss"],
        "validation_loss": last["validation_loss"],
        "seconds": last["seconds"],
    }


def report_trial(session: Session, trial: Trial) -> str:
    """Draw a trial's curves and confusion matrix; return its section of the report."""
    file = trial.name.replace("=", "-").replace(".", "_")
    draw_curves(trial.history, session.figure(f"{file}-curves"))
    draw_confusion(trial.confusion, list(trial.classes), session.figure(f"{file}-confusion"))
    return "\n\n".join(
        [
            f"## {trial.name}",
            f"![curves]({FIGURES}/{file}-curves.png)\n"
            f"![confusion matrix, rows normalised]({FIGURES}/{file}-confusion.png)",
            describe_classes(trial.confusion, trial.classes),
        ]
    )


def describe_classes(confusion: np.ndarray, classes: tuple[str, ...]) -> str:
    """Tabulate each class's counts and figures.

    Papers call two different shares a class's accuracy: (TP + TN) / all, the usual one, which is
    high for every rare class, and TP / (TP + FP + FN). Both are given.
    """
    recalls, precisions = find_recalls(confusion), find_recalls(confusion.T)
    rows = []
    for index, name in enumerate(classes):
        hits = int(confusion[index, index])
        false_alarms = int(confusion[:, index].sum()) - hits
        misses = int(confusion[index].sum()) - hits
        others = int(confusion.sum()) - hits - false_alarms - misses
        shares = (
            precisions[index],
            recalls[index],
            (hits + others) / confusion.sum(),
            hits / max(1, hits + false_alarms + misses),
        )
        counts = (hits, false_alarms, misses, others)
        rows.append([name, *map(str, counts), *(_write_share(share) for share in shares)])
    titles = ["class", "TP", "FP", "FN", "TN", "precision", "recall"]
    return write_table([*titles, "(TP + TN) / all", "TP / (TP + FP + FN)"], rows)


def write_results(study: Study, recipe: Recipe, session: Session, findings: Findings) -> None:
    """Write results.csv, results.json and report.md."""
    session.results.mkdir(parents=True, exist_ok=True)
    if findings.rows:
        titles = list(dict.fromkeys(key for row in findings.rows for key in row))
        with (session.results / "results.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, titles)
            writer.writeheader()
            writer.writerows(findings.rows)
    made = {
        "study": session.name,
        "title": study.title,
        "question": study.question,
        "differences": study.differences,
        "comparison": compare_with_paper(study.paper, findings.figures),
        "source": recipe.data.source,
        "scale": session.scale,
        "command": session.command,
        "date": session.results.name,
        "seed": recipe.seed,
        "versions": _list_versions(),
        "hardware": describe_hardware(),
        "recipe": recipe.model_dump(mode="json"),
        "grid": study.grid,
        "options": study.options,
        "figures": findings.figures,
        "missing": findings.missing,
        "rows": findings.rows,
    }
    text = json.dumps(made, indent=2) + "\n"
    (session.results / "results.json").write_text(text, encoding="utf-8")
    report = _write_report(study, recipe, session, findings)
    (session.results / "report.md").write_text(report, encoding="utf-8")


def _list_versions() -> dict[str, str]:
    """Name the versions of what the figures depend on."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def _write_report(study: Study, recipe: Recipe, session: Session, findings: Findings) -> str:
    """Return the report in Markdown."""
    inspection = session.inspection
    hardware = describe_hardware()
    sections = [
        f"# {study.title}",
        study.question,
        f"`{session.command}`, {session.results.name}, seed {recipe.seed}, "
        f"{hardware['processor']} with {hardware['cores']} cores. Data: {recipe.data.source}.",
    ]
    if session.scale == "smoke":
        sections.append("**A trial of the code on a small scale: its figures say nothing.**")
    if not findings.rows:
        sections.append("**Nothing ran, so there are no figures of ours.**")
    if findings.missing:
        sections += ["## What could not run", _list(findings.missing)]
    compared = compare_with_paper(study.paper, findings.figures)
    cells = [[row[key] for key in ("figure", "paper", "ours", "why")] for row in compared]
    titles = ["figure", "paper", "ours", "on the difference"]
    sections += ["## Beside the paper", write_table(titles, cells)]
    sections += ["## What differs here, and why", _list(study.differences)]
    faults = inspection.faults + [f"Leakage: {leak}" for leak in inspection.leakage]
    sections += ["## The data, checked", _list(faults + inspection.remarks)]
    if findings.rows:
        titles = list(dict.fromkeys(key for row in findings.rows for key in row))
        cells = [[str(row.get(title, "")) for title in titles] for row in findings.rows]
        sections += ["## All trainings", write_table(titles, cells)]
    return "\n\n".join(sections + findings.sections) + "\n"


def compare_with_paper(paper: list[PaperFigure], figures: dict[str, float]) -> list[dict[str, str]]:
    """Set each of the paper's figures beside ours, with a sentence on the difference.

    Returns rows of `figure`, `paper`, `ours` (empty for what did not run) and `why`.
    """
    rows = []
    for item in paper:
        own = figures.get(item.ours)
        rows.append(
            {
                "figure": item.figure,
                "paper": item.value,
                "ours": "" if own is None else _write_figure(own, item.form),
                "why": "This did not run." if own is None else item.why,
            }
        )
    return rows


def _write_figure(value: float, form: str) -> str:
    """Write one of our figures as its kind is written."""
    if form == "share":
        return _write_share(value)
    return f"{value:.0f} s" if form == "seconds" else f"{value:.4g}"


def _write_share(value: float) -> str:
    """Write a share as a percentage; nothing where there is none."""
    return "" if np.isnan(value) else f"{value:.2%}"


def _list(sentences: list[str]) -> str:
    """Write a Markdown list."""
    return "\n".join(f"- {sentence}" for sentence in sentences)
