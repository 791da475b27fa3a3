"""Repeat a published study by one command, and compare its figures with the paper's.

A study is training/studies/<name>.toml (its grid, the paper's figures, what differs here and why)
and a module of the same name, whose `run(session)` trains and measures.
"""

import datetime
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.ray_session import ExecutorName
from training.datasets.inspection import inspect
from training.fit.pretrained import FULL_PRECISION, WeightsError, load_base
from training.recipe import DataError, RecipeError, change_recipe, parse_recipe, read_toml, validate
from training.studies.executors import open_executor
from training.studies.reporting import write_results
from training.studies.session import LABELS_HEAD, Findings, Session, Study

STUDIES = Path(__file__).parent
# What the recipes of all studies share.
RECIPE = {
    "seed": 1,
    "purpose": {
        "en": "Repeats a published study.",
        "id": "Mengulang sebuah studi yang telah diterbitkan.",
    },
    "not_for": {"en": "Serving.", "id": "Dipakai di server."},
    "heads": {LABELS_HEAD: {"targets": "labels"}},
    "default_head": LABELS_HEAD,
    "target_precision": 0.9,
}


def load_study(name: str, scale: str) -> Study:
    """Read a study's TOML, with the smaller values of a scale other than "full".

    Raises `RecipeError` for an unknown name, an invalid file, or a scale the study doesn't have.
    """
    study = validate(Study, read_toml(STUDIES / f"{name}.toml", "study", STUDIES))
    study.recipe = RECIPE | {"name": name} | study.recipe
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
    executor: ExecutorName = "local",
    warn: Callable[[str], Any] = print,
) -> Path:
    """Run a study, resuming it from its `work` folder, and write its results.

    Returns the folder of results: `results`/<date>. `warn` gets, before anything is trained, a
    sentence for each network whose weights are not available and for each fault of the data. Raises
    `RecipeError`, `DataError`, also for leakage, and `RayError` as `open_executor` does.
    """
    study = load_study(name, scale)
    recipe = parse_recipe(study.recipe)
    if data:
        recipe = change_recipe(recipe, {"data.folder": str(data)})
    bases, missing = [], []
    for base in study.bases:
        try:
            load_base(base, FULL_PRECISION)
            bases.append(base)
        except WeightsError as error:
            missing.append(str(error))
    inspection = inspect(recipe.data.folder)
    for sentence in missing + inspection.faults + inspection.leakage:
        warn(sentence)
    if inspection.leakage and recipe.data.leakage == "refuse":
        raise DataError(f"{recipe.data.folder}: {inspection.leakage[0]} Fix that first.")
    folder = results / datetime.datetime.now(datetime.UTC).date().isoformat()
    work.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f"training.studies.{name.replace('-', '_')}")
    with open_executor(executor) as opened:
        described = (name, scale, study, recipe, inspection, tuple(bases))
        session = Session(*described, work, folder, command, storage, opened)
        findings: Findings = module.run(session)
    findings.missing = missing + findings.missing
    write_results(session, findings)
    return folder
