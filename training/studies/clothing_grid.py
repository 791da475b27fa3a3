"""Search a grid of pretrained networks, sizes, batches and learning rates to classify clothes.

Four stages follow one another, each shared by all processes or tasks: the features of each network
and size, the search, the longer training of each network's best, and a network fitted as a whole.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from app.markdown import markdown_table, percent
from app.vision.geometry import softmax
from app.vision.models.classifiers import energy_scores
from training.datasets.experiment import Splits, read_splits, read_validation
from training.datasets.loading import Split, list_pictures
from training.datasets.ood import read_ood
from training.evaluate.metrics import find_macro_f1, find_recalls
from training.fit.pretrained import (
    FULL_PRECISION,
    compute_features,
    head_options,
    load_base,
    read_seconds,
)
from training.recipe import WORDS, OODSet, change_recipe, load_recipe, parse_recipe
from training.runs import History, load_run
from training.studies.grid import Measure, share_grid
from training.studies.reporting import describe_training
from training.studies.session import (
    LABELS_HEAD,
    Findings,
    Point,
    Session,
    Trial,
    confuse,
    describe_end,
    iterate_grid,
    list_curves,
    name_point,
    predict_head,
    predict_run,
    train,
)

Predict = Callable[[Split], np.ndarray]  # a split's pictures to logits
Row = dict[str, Any]
SCHEDULE_KEYS = ("batch", "learning_rate")  # the part of a point that belongs to the schedule


def run(session: Session) -> Findings:
    """Search the grid, fit each network's best point for longer, and test out-of-distribution."""
    findings = Findings()
    if not session.bases:
        return findings
    search, grid = _Search(session), session.study.grid
    points = list(iterate_grid({**grid, "base": list(session.bases)}))
    sizes = [{"base": base, "size": size} for base in session.bases for size in grid["size"]]
    features = search.share("features", sizes, search.measure_features)
    findings.rows = search.share("search", points, search.measure_point)
    best = [
        max((row for row in findings.rows if row["base"] == base), key=lambda row: row["macro_f1"])
        for base in session.bases
    ]
    ood = search.list_ood()
    chosen = [{key: row[key] for key in grid} for row in best]
    final = search.share("final", chosen, search.measure_final, ood)
    winner = max(final, key=lambda row: row["macro_f1"])
    fitted = search.fitted
    if fitted.network.options["base"] in session.bases:
        schedule = {key: getattr(fitted.schedule, key) for key in SCHEDULE_KEYS}
        point = {"base": fitted.name, "size": fitted.data.size, **schedule}
        final += search.share("fitted", [point], search.measure_fitted, ood)
        findings.figures["one_view_macro_f1"] = final[-1]["one_view_macro_f1"]
    findings.sections.append(_compare_bases(findings.rows, features, final))
    for row in final:
        for name in ("precision", "recall", "macro_f1"):
            findings.figures[f"{row['base']}_{name}"] = row[name]
        findings.histories[row["base"]] = row["curves"]
        confusion, classes = np.array(row["confusion"]), tuple(row["classes"])
        findings.sections.append(describe_training(row["base"], confusion, classes))
    if outside := winner["outside"]:
        count, refused = (sum(row[key] for row in outside) for key in ("count", "refused"))
        findings.figures["outside_accepted"] = (count - refused) / count
        findings.counts["outside_accepted"] = count
        findings.sections += [_describe_ood(row) for row in final]
    findings.missing += [
        f"There are no out-of-distribution pictures in {folder}: the tables leave them out."
        for folder in search.ood_folders
        if not _list_kinds(folder)
    ]
    return findings


class _Search:
    def __init__(self, session: Session) -> None:
        self.session, self.recipe, self.options = session, session.recipe, session.study.options
        fitted = self.options["fitted"]  # the recipe that fits the body too
        changes = {"data.folder": str(self.recipe.data.folder), **fitted["changes"]}
        self.fitted = change_recipe(load_recipe(fitted["recipe"]), changes)
        # Out-of-distribution pictures are beside the data's folder.
        beside = self.recipe.data.folder.parent
        self.ood_folders = [beside / name for name in self.options["outside"]]

    def share(
        self,
        stage: str,
        points: list[Point],
        measure: Measure,
        ood: dict[str, list[str]] | None = None,  # pictures that the stage measures on
    ) -> list[Row]:
        session = self.session
        if session.executor.parallel:
            found = session.executor.map(measure, points)
            return [{**point, **more} for point, more in zip(points, found, strict=True)]
        storage = session.storage or f"sqlite:///{session.work / 'grid.sqlite'}"
        # A grid's record belongs to its points, recipes and pictures: a change starts another.
        both = (self.recipe, self.fitted)
        recipes = [recipe.model_dump(mode="json", exclude=WORDS) for recipe in both]
        key = json.dumps([points, recipes, self.options, [session.inspection.digest, ood]])
        name = f"{session.name}-{stage}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
        return share_grid(storage, name, points, measure, self.options["heartbeat"])

    def measure_features(self, point: Point) -> Row:
        seconds = sum(read_seconds(split) for split in self._features(point))
        return {"feature_seconds": round(seconds, 1)}

    def measure_point(self, point: Point) -> Row:
        trial = self._fit(point, self.options["search_epochs"], "search")
        return {**_score(trial.confusion), "search_seconds": trial.row["seconds"]}

    def measure_final(self, point: Point) -> Row:
        trial = self._fit(point, self.options["final_epochs"], "final")
        width = self._features(point)[1].pictures.shape[1]
        body = load_base(point["base"], FULL_PRECISION)

        def predict(split: Split) -> np.ndarray:
            features = self._compute_features(point["base"], split)
            return predict_run(self.session.work / trial.name, features)

        parameters = body.count_params() + (width + 1) * len(trial.classes)
        measured = self._measure_run(point["size"], predict, self._pictures(point)[1])
        return measured | _describe_run(trial.history, LABELS_HEAD, parameters)

    def measure_fitted(self, point: Point) -> Row:
        _read.cache_clear()  # Training needs the memory.
        run = self.session.work / self.fitted.name
        history = train(self.fitted, run)
        (head,) = self.fitted.heads
        _, network = load_run(run)
        validation = read_validation(self.fitted)
        one_view = confuse(predict_head(network, head, validation), validation.labels)
        predict = partial(_predict_both_views, network, head)
        measured = self._measure_run(point["size"], predict, validation)
        measured["one_view_macro_f1"] = _score(one_view)["macro_f1"]
        return measured | _describe_run(history, head, network.count_params())

    def _measure_run(self, size: int, predict: Predict, validation: Split) -> Row:
        logits = predict(validation)
        confusion = confuse(logits, validation.labels)
        refused = self.options["refused_of_clothes"]
        limit = float(np.quantile(energy_scores(logits), 1 - refused))
        return {
            **_score(confusion),
            "classes": list(validation.classes),
            "confusion": confusion.tolist(),
            "energy_limit": round(limit, 4),
            "refused_of_clothes": refused,
            "outside": self._measure_ood(size, predict, validation.classes, limit),
        }

    def _fit(self, point: Point, epochs: int, stage: str) -> Trial:
        options = head_options(point["base"], point["size"], 0, True, pooling="none", dense=[])
        changes = {f"schedule.{key}": point[key] for key in SCHEDULE_KEYS}
        changes |= {"schedule.epochs": epochs, "network.options": options}
        name = f"{stage}/{name_point(point)}"
        changed = change_recipe(self.recipe, changes)
        return self.session.fit(point, changed, self._features(point), name=name)

    def _features(self, point: Point) -> Splits:
        train, validation = self._pictures(point)
        base = point["base"]
        return self._compute_features(base, train), self._compute_features(base, validation)

    def _compute_features(self, base: str, split: Split) -> Split:
        precision, folder = self.recipe.schedule.precision, self.session.work
        return compute_features(split, base, 0, True, folder, precision)

    def _pictures(self, point: Point) -> Splits:
        size = {"data.size": point["size"], "data.stored_size": point["size"]}
        return _read(change_recipe(self.recipe, size).model_dump_json())

    def _measure_ood(
        self, size: int, predict: Predict, classes: tuple[str, ...], limit: float
    ) -> list[Row]:
        rows = []
        for kind in map(Path, self.list_ood()):
            ood = {kind.name: OODSet(folder=kind, train_on=False)}
            logits = predict(read_ood(ood, "validation", size, self.recipe.seed)[kind.name])
            predicted = Counter(classes[index] for index in logits.argmax(axis=1))
            row = {"kind": kind.name, "count": len(logits)}
            row["answered"] = predicted.most_common(1)[0][0]
            row["probability"] = round(float(softmax(logits).max(axis=1).mean()), 4)
            row["refused"] = int((energy_scores(logits) > limit).sum())
            rows.append(row)
        return rows

    def list_ood(self) -> dict[str, list[str]]:
        return {
            str(kind): [file.name for file in list_pictures(kind)]
            for folder in self.ood_folders
            for kind in _list_kinds(folder)
        }


def _list_kinds(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    return [kind for kind in inner or [folder] if list_pictures(kind)]


@lru_cache(maxsize=1)  # The pictures of one size take one to three gigabytes.
def _read(recipe: str) -> Splits:
    return read_splits(parse_recipe(json.loads(recipe)))


def _predict_both_views(network: keras.Model, head: str, split: Split) -> np.ndarray:
    mirrored = replace(split, pictures=np.ascontiguousarray(split.pictures[:, :, ::-1]))
    views = [predict_head(network, head, view) for view in (split, mirrored)]
    return np.asarray(np.mean(views, axis=0))


def _describe_run(history: History, head: str, parameters: int) -> Row:
    curves = list_curves(history, head)
    return {**describe_end(history, head), "parameters": parameters, "curves": curves}


def _score(confusion: np.ndarray) -> dict[str, float]:
    """Return precision, recall and F1, each averaged over the classes."""
    return {
        "precision": round(float(np.nanmean(find_recalls(confusion.T))), 4),
        "recall": round(float(np.nanmean(find_recalls(confusion))), 4),
        "macro_f1": round(float(find_macro_f1(confusion)), 4),
    }


def _compare_bases(rows: list[Row], features: list[Row], final: list[Row]) -> str:
    cells = []
    for row in final:
        seconds = [
            [each[key] for each in stage if each["base"] == row["base"]]
            for stage, key in ((features, "feature_seconds"), (rows, "search_seconds"))
        ]
        cell = [row[key] for key in ("base", "size", "batch", "learning_rate")]
        cell += [percent(row[key], 2) for key in ("precision", "recall", "macro_f1")]
        cell.append(f"{row['parameters']:,}")
        cell += [f"{sum(s):.1f} s" if s else "" for s in (*seconds, [row["seconds"]])]
        cells.append(cell)
    columns = "network, size, batch, rate, precision, recall, macro-F1, parameters, features"
    table = markdown_table(cells, [*columns.split(", "), "search", "training"])
    remarks = [
        f"The predictions of {row['base']} are averaged over a picture and its mirror image; for "
        f"the picture alone its macro-F1 is {row['one_view_macro_f1']:.2%}."
        for row in final
        if "one_view_macro_f1" in row
    ]
    return "\n\n".join(["## Each network's best", table, *remarks])


def _describe_ood(network: Row) -> str:
    rows = []
    for row in network["outside"]:
        shares = map(percent, (row["probability"], row["refused"] / row["count"]))
        rows.append([row["kind"], row["count"], row["answered"], *shares])
    columns = ["pictures of", "count", "most frequent prediction", "mean probability", "refused"]
    return (
        f"## Out-of-distribution pictures, {network['base']}\n\n"
        f"Pictures with an energy above {network['energy_limit']} are refused, as are "
        f"{network['refused_of_clothes']:.0%} of the clothes in the validation split.\n\n"
        f"{markdown_table(rows, columns)}"
    )
