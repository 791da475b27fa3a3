"""Search a grid of pretrained networks, sizes, batches and learning rates for reading clothes.

Four stages follow one another, each shared between all processes or tasks that work on the study:
the features of each network and size, the search, the longer training of each network's best, and
a network whose body is fitted too.
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
from scipy.special import softmax

from app.markdown import markdown_table
from app.vision.models.classifiers import energy_scores
from training.datasets.experiment import read_splits, read_validation
from training.datasets.loading import Split, list_pictures
from training.datasets.ood import read_ood
from training.evaluate.metrics import find_macro_f1, find_recalls
from training.evaluate.reports import FIGURES, plot_confusion, plot_curves
from training.fit.pretrained import (
    compute_both,
    compute_features,
    count_parameters,
    describe_top,
    read_seconds,
)
from training.recipe import (
    WORDS,
    OODSet,
    Recipe,
    change_recipe,
    load_recipe,
    parse_recipe,
)
from training.runs import load_run
from training.studies.grid import Measure, name_file, share_grid
from training.studies.study import (
    Findings,
    Session,
    Study,
    answer_part,
    ask_network,
    confuse,
    describe_classes,
    describe_end,
    iterate_grid,
    name_trial,
    train,
)

Answer = Callable[[Split], np.ndarray]  # a part's pictures to logits
SCHEDULE_KEYS = ("batch", "learning_rate")  # what a grid's point says of the schedule


def run(study: Study, recipe: Recipe, session: Session) -> Findings:
    """Search the grid, fit each network's best point for longer, and try what is no clothing."""
    findings = Findings()
    if not session.bases:
        return findings
    search = Search(study, recipe, session)
    points = list(iterate_grid({**study.grid, "base": list(session.bases)}))
    sizes = [{"base": base, "size": size} for base in session.bases for size in study.grid["size"]]
    features = search.share("features", sizes, search.measure_features)
    findings.rows = search.share("search", points, search.measure_point)
    best = [
        max((row for row in findings.rows if row["base"] == base), key=lambda row: row["macro_f1"])
        for base in session.bases
    ]
    outside = search.name_outside()
    chosen = [{key: row[key] for key in study.grid} for row in best]
    final = search.share("final", chosen, search.measure_final, outside)
    winner = max(final, key=lambda row: row["macro_f1"])
    if search.fitted.network.options["base"] in session.bases:
        point = search.describe_fitted()
        (fitted,) = search.share("fitted", [point], search.measure_fitted, outside)
        findings.figures["one_view_macro_f1"] = fitted["one_view_macro_f1"]
        final.append(fitted)
    for row in final:
        findings.figures[f"{row['base']}_macro_f1"] = row["macro_f1"]
        findings.sections.append(_report_final(session, row))
    findings.sections.insert(0, _compare_bases(findings.rows, features, final))
    if winner["outside"]:
        count = sum(row["count"] for row in winner["outside"])
        accepted = sum(row["count"] - row["refused"] for row in winner["outside"])
        findings.figures["outside_accepted"] = accepted / count
        findings.sections += [_describe_outside(row) for row in final]
    findings.missing += search.list_missing()
    return findings


class Search:
    """Measure the points of the study's stages."""

    def __init__(self, study: Study, recipe: Recipe, session: Session) -> None:
        """Keep what all points have in common, and the recipe that fits the body too."""
        self.study = study
        self.recipe = recipe
        self.session = session
        fitted = study.options["fitted"]
        changes = {"data.folder": str(recipe.data.folder), **fitted["changes"]}
        self.fitted = change_recipe(load_recipe(fitted["recipe"]), changes)

    def share(
        self,
        stage: str,
        points: list[dict[str, Any]],
        measure: Measure,
        outside: dict[str, list[str]] | None = None,
    ) -> list[dict[str, Any]]:
        """Work one grid off together, by the engine's tasks or with the other processes.

        `outside` names the pictures of no class that it asks about, if it does.
        """
        if self.session.engine.parallel:
            found = self.session.engine.map(measure, points)
            return [{**point, **more} for point, more in zip(points, found, strict=True)]
        storage = self.session.storage or name_file(self.session.work / "grid.sqlite")
        # A record belongs to one grid, its recipes and one set of pictures: where one of them
        # changes, it begins anew.
        recipes = [
            recipe.model_dump(mode="json", exclude=WORDS) for recipe in (self.recipe, self.fitted)
        ]
        pictures = [self.session.inspection.digest, outside]
        asked = json.dumps([points, recipes, self.study.options, pictures])
        digest = hashlib.sha256(asked.encode()).hexdigest()[:8]
        name = f"{self.session.name}-{stage}-{digest}"
        return share_grid(storage, name, points, measure, self.study.options["heartbeat"])

    def measure_features(self, point: dict[str, Any]) -> dict[str, Any]:
        """Compute a network's features at a size."""
        parts = self._features(point)
        return {"feature_seconds": round(sum(read_seconds(part) for part in parts), 1)}

    def measure_point(self, point: dict[str, Any]) -> dict[str, Any]:
        """Fit one point of the search."""
        run, history, features = self._fit(point, self.study.options["search_epochs"], "search")
        scores = _score(confuse(answer_part(run, features), features))
        return {**scores, "search_seconds": history[-1]["seconds"]}

    def measure_final(self, point: dict[str, Any]) -> dict[str, Any]:
        """Fit a network's best point for longer, and ask it about pictures of no class."""
        run, history, features = self._fit(point, self.study.options["final_epochs"], "final")
        dense = (features.pictures.shape[1] + 1) * len(features.classes)
        answer = partial(self._answer_frozen, point["base"], run)
        measured = self._measure_run(point["size"], answer, self._pictures(point)[1])
        return {
            **measured,
            **describe_end(history),
            "parameters": count_parameters(point["base"]) + dense,
            "history": history,
        }

    def describe_fitted(self) -> dict[str, Any]:
        """Return what the grid's points tell, of the network whose body is fitted too."""
        schedule = self.fitted.schedule
        return {
            "base": self.fitted.name,
            "size": self.fitted.data.size,
            **{key: getattr(schedule, key) for key in SCHEDULE_KEYS},
        }

    def measure_fitted(self, point: dict[str, Any]) -> dict[str, Any]:
        """Fit the network whose body is fitted too, and ask it about pictures of no class.

        Its logits for a picture and for its mirror image are averaged.
        """
        _read.cache_clear()  # the grid is done, and training needs the memory
        run = self.session.work / self.fitted.name
        history = train(self.fitted, run)
        (head,) = self.fitted.heads
        _, network = load_run(run)
        validation = read_validation(self.fitted)
        one_view = ask_network(network, head, validation)
        answer = partial(_ask_both_views, network, head)
        return {
            **self._measure_run(point["size"], answer, validation),
            "one_view_macro_f1": _score(confuse(one_view, validation))["macro_f1"],
            **describe_end(history, head),
            "parameters": network.count_params(),
            "history": history,
        }

    def _measure_run(self, size: int, answer: Answer, validation: Split) -> dict[str, Any]:
        """Measure a network on the validation part and on pictures of no class."""
        logits = answer(validation)
        confusion = confuse(logits, validation)
        refused = self.study.options["refused_of_clothes"]
        limit = float(np.quantile(energy_scores(logits), 1 - refused))
        return {
            **_score(confusion),
            "classes": list(validation.classes),
            "confusion": confusion.tolist(),
            "energy_limit": round(limit, 4),
            "refused_of_clothes": refused,
            "outside": self._ask_outside(size, answer, validation.classes, limit),
        }

    def _fit(
        self, point: dict[str, Any], epochs: int, stage: str
    ) -> tuple[Path, list[dict[str, Any]], Split]:
        """Fit one point's dense layer; return its run, history and validation features."""
        parts = self._features(point)
        options = describe_top(point["base"], point["size"], 0, True, pooling="none", dense=[])
        changes = {f"schedule.{key}": point[key] for key in SCHEDULE_KEYS}
        changes |= {"schedule.epochs": epochs, "network.options": options}
        changed = change_recipe(self.recipe, changes)
        folder = self.session.work / stage / name_trial(point)
        return folder, train(changed, folder, parts), parts[1]

    def _features(self, point: dict[str, Any]) -> tuple[Split, Split]:
        """Return both parts' features at a point's size, averaged over the places."""
        precision = self.recipe.schedule.precision
        folder = self.session.features
        return compute_both(self._pictures(point), point["base"], 0, True, folder, precision)

    def _pictures(self, point: dict[str, Any]) -> tuple[Split, Split]:
        """Return both parts' pictures at a point's size."""
        size = {"data.size": point["size"], "data.stored_size": point["size"]}
        return _read(change_recipe(self.recipe, size).model_dump_json())

    def _answer_frozen(self, base: str, run: Path, part: Split) -> np.ndarray:
        """Return the logits of a frozen base's dense layer for pictures."""
        precision = self.recipe.schedule.precision
        folder = self.session.features
        return answer_part(run, compute_features(part, base, 0, True, folder, precision))

    def _ask_outside(
        self, size: int, answer: Answer, classes: tuple[str, ...], limit: float
    ) -> list[dict[str, Any]]:
        """Ask a network about pictures of no class; return a row for each kind."""
        rows = []
        for kind in map(Path, self.name_outside()):
            measured = {kind.name: OODSet(folder=kind, train_on=False)}
            part = read_ood(measured, "validation", size, self.recipe.seed)[kind.name]
            logits = answer(part)
            answers = Counter(classes[index] for index in logits.argmax(axis=1))
            rows.append(
                {
                    "kind": kind.name,
                    "count": len(logits),
                    "answered": answers.most_common(1)[0][0],
                    "probability": round(float(softmax(logits, axis=1).max(axis=1).mean()), 4),
                    "refused": int((energy_scores(logits) > limit).sum()),
                }
            )
        return rows

    def list_missing(self) -> list[str]:
        """Name the sets of pictures of no class that aren't there."""
        return [
            f"There are no pictures of no class in {folder}: the tables leave them out."
            for folder in self._list_sets()
            if not _list_kinds(folder)
        ]

    def name_outside(self) -> dict[str, list[str]]:
        """Name the pictures of each kind of pictures of no class."""
        return {
            str(kind): [file.name for file in list_pictures(kind)]
            for folder in self._list_sets()
            for kind in _list_kinds(folder)
        }

    def _list_sets(self) -> list[Path]:
        """List where sets of pictures of no class are looked for, beside the data's folder."""
        beside = self.recipe.data.folder.parent
        return [beside / name for name in self.study.options["outside"]]


def _list_kinds(folder: Path) -> list[Path]:
    """List the folders of pictures in a set: those in it, or the set itself."""
    if not folder.is_dir():
        return []
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    return [kind for kind in inner or [folder] if list_pictures(kind)]


@lru_cache(maxsize=1)  # one size's pictures take one to three gigabytes
def _read(recipe: str) -> tuple[Split, Split]:
    """Read the pictures of a recipe in JSON, once for all points of its size."""
    return read_splits(parse_recipe(json.loads(recipe)))


def _ask_both_views(network: keras.Model, head: str, part: Split) -> np.ndarray:
    """Return a head's logits, averaged over each picture and its mirror image."""
    mirrored = replace(part, pictures=np.ascontiguousarray(part.pictures[:, :, ::-1]))
    logits: np.ndarray = np.mean([ask_network(network, head, view) for view in (part, mirrored)], 0)
    return logits


def _score(confusion: np.ndarray) -> dict[str, Any]:
    """Return precision, recall and F1, each averaged over the classes."""
    return {
        "precision": round(float(np.nanmean(find_recalls(confusion.T))), 4),
        "recall": round(float(np.nanmean(find_recalls(confusion))), 4),
        "macro_f1": round(float(find_macro_f1(confusion)), 4),
    }


def _compare_bases(
    rows: list[dict[str, Any]], features: list[dict[str, Any]], final: list[dict[str, Any]]
) -> str:
    """Tabulate each network's best, its size and what it took."""
    cells = []
    for row in final:
        of_base = [
            [other[key] for other in others if other["base"] == row["base"]]
            for others, key in ((features, "feature_seconds"), (rows, "search_seconds"))
        ]
        shares = [f"{row[key]:.2%}" for key in ("precision", "recall", "macro_f1")]
        point = [str(row[key]) for key in ("base", "size", "batch", "learning_rate")]
        seconds = [f"{sum(each):.1f} s" if each else "" for each in (*of_base, [row["seconds"]])]
        cells.append([*point, *shares, f"{row['parameters']:,}", *seconds])
    titles = "network, size, batch, rate, precision, recall, macro-F1, parameters, features, search"
    table = markdown_table(cells, [*titles.split(", "), "training"])
    remarks = [
        f"{row['base']} answers to a picture and to its mirror image, averaged; of the picture "
        f"alone its macro-F1 is {row['one_view_macro_f1']:.2%}."
        for row in final
        if "one_view_macro_f1" in row
    ]
    return "\n\n".join(["## Each network's best", table, *remarks])


def _report_final(session: Session, row: dict[str, Any]) -> str:
    """Draw a network's curves and confusion matrix; return its section."""
    base, confusion = row["base"], np.array(row["confusion"])
    plot_curves(row["history"], session.figure(f"{base}-curves"))
    plot_confusion(confusion, row["classes"], session.figure(f"{base}-confusion"))
    return "\n\n".join(
        [
            f"## {base}",
            f"![curves]({FIGURES}/{base}-curves.png)\n"
            f"![confusion matrix, rows normalised]({FIGURES}/{base}-confusion.png)",
            describe_classes(confusion, tuple(row["classes"])),
        ]
    )


def _describe_outside(network: dict[str, Any]) -> str:
    """Tabulate what a network says to pictures of no class."""
    rows = [
        [
            row["kind"],
            str(row["count"]),
            row["answered"],
            f"{row['probability']:.1%}",
            f"{row['refused'] / row['count']:.1%}",
        ]
        for row in network["outside"]
    ]
    titles = ["pictures of", "count", "most often called", "mean probability", "refused"]
    return "\n\n".join(
        [
            f"## Pictures of no class, {network['base']}",
            f"Refused is what has an energy above {network['energy_limit']}, as "
            f"{network['refused_of_clothes']:.0%} of the validation part's clothes have.",
            markdown_table(rows, titles),
        ]
    )
