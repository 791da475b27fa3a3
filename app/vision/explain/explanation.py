"""Run a photo through the analyzer's call list, and keep every stage for the steps page."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from app.errors import RautError, unknown_choice
from app.vision.budget import Budget
from app.vision.explain.feature_maps import FeatureExtractor, Layer
from app.vision.explain.saliency import grad_cam, occlude
from app.vision.models.classifiers import Classifier, energy_scores, read_probabilities
from app.vision.pipeline import FaceAnalyzer
from app.vision.readings import Analysis, Prediction
from app.vision.tracing import Trace


@dataclass(frozen=True)
class Range:
    """Bound a setting of the detector that a user may change."""

    low: float
    high: float
    step: float


# The bounds limit the cost of a request: the finest search takes ten times the default one.
ADJUSTABLE = {
    "working_side": Range(64, 640, 16),
    "most_proposals": Range(1, 96, 1),
    "promising": Range(0.0, 1.0, 0.01),
    "accepted": Range(0.0, 1.0, 0.001),
    "accepted_rare": Range(0.0, 1.0, 0.001),
}


@dataclass(frozen=True)
class Reading:
    """Hold how one crop became a prediction.

    `crop` is uint8 (size, size, channels). `logits` are those of the answerable classes `names`,
    `scaled` the same over the temperature, `shares` their softmax; `energy` is that of all the
    head's logits. `filters` and `layers` are the network's; `occlusion` and `cam` are as in
    `app.vision.explain.saliency`.
    """

    classifier: Classifier
    crop: np.ndarray
    names: list[str]
    logits: np.ndarray
    scaled: np.ndarray
    shares: np.ndarray
    energy: float
    prediction: Prediction
    filters: np.ndarray | None
    layers: list[Layer]
    occlusion: np.ndarray
    cam: np.ndarray | None


@dataclass(frozen=True)
class Explanation:
    """Hold the analysis of a photo with its stages, and the full reading of one crop.

    `face` is the index of the explained face; None for a model of whole images, and without faces.
    `reading` is None where there is no crop.
    """

    analysis: Analysis
    trace: Trace
    face: int | None
    reading: Reading | None


class Explainer:
    """Explain photos; it keeps feature extractors, and nothing of a photo."""

    def __init__(self, analyzer: FaceAnalyzer, threads: int = 1) -> None:
        self.analyzer = analyzer
        self._threads = threads
        self._extractor = functools.cache(self._load_extractor)

    def explain(
        self,
        data: bytes,
        model: str,
        face: int = 0,
        models: Iterable[str] | None = None,
        label_set: str | None = None,
        effort: str = "balanced",
        adjustments: dict[str, float] | None = None,
        detector: str | None = None,
        budget: Budget | None = None,
    ) -> Explanation:
        """Analyze a photo as the API does, and explain one model's prediction for one face.

        `model` names one of the models used, `face` the index of the face (the last one if there
        are fewer). `models`, `label_set` and `effort` are as in `FaceAnalyzer.analyze_file`;
        `detector` is as in `FaceAnalyzer.with_detector`, and `adjustments` change its settings.
        Raises `RautError` as the analyzer and the budget do, and for an adjustment out of its
        range.
        """
        analyzer = self._adjusted(adjustments or {}).with_detector(detector)
        used = analyzer.choose(models, label_set)
        if model not in used:
            raise unknown_choice(
                "unknown_model", f"There is no model {model!r} that answers.", sorted(used)
            )
        classifier, trace = used[model], Trace(keep=True, budget=budget)
        analysis = analyzer.analyze_file(data, models, label_set, effort, trace)
        if classifier.card.region == "image":
            prediction = analysis.image_predictions[model]
            return Explanation(analysis, trace, None, self._read(classifier, trace, 0, prediction))
        if not analysis.faces:
            return Explanation(analysis, trace, None, None)
        index = min(face, len(analysis.faces) - 1)
        prediction = analysis.faces[index].predictions[classifier.card.task]
        return Explanation(analysis, trace, index, self._read(classifier, trace, index, prediction))

    def _adjusted(self, adjustments: dict[str, float]) -> FaceAnalyzer:
        """Return an analyzer with the same models and a changed detector."""
        for name, value in adjustments.items():
            bounds = ADJUSTABLE[name]
            if not bounds.low <= value <= bounds.high:
                raise RautError(
                    "detector_setting",
                    f"{name} must lie between {bounds.low} and {bounds.high}.",
                    name=name,
                    low=bounds.low,
                    high=bounds.high,
                )
            if bounds.step >= 1 and value != int(value):
                raise RautError("not_a_whole_number", f"{name} must be a whole number.", name=name)
        if not adjustments:
            return self.analyzer
        return replace(self.analyzer, detector=self.analyzer.detector.adjusted(**adjustments))

    def _read(
        self, classifier: Classifier, trace: Trace, index: int, prediction: Prediction
    ) -> Reading:
        """Read one crop of the batch stage by stage, up to the prediction of the analysis."""
        name = classifier.card.name
        crops, logits = trace.find("crops", name), trace.find("logits", name)
        assert crops is not None
        assert logits is not None
        crop = crops.values["crops"][index]
        row = logits.values["logits"][index]
        names, shares = read_probabilities(classifier.head, row[None])
        kept = classifier.head.answerable_indices
        extractor = self._extractor(name)
        return Reading(
            classifier=classifier,
            crop=crop,
            names=names,
            logits=row[kept],
            scaled=row[kept] / classifier.head.temperature,
            shares=shares[0],
            energy=float(energy_scores(row[None])[0]),
            prediction=prediction,
            filters=extractor.filters,
            layers=extractor.layers(crop),
            occlusion=occlude(classifier, crop, trace.budget),
            cam=grad_cam(classifier, crop),
        )

    def _load_extractor(self, name: str) -> FeatureExtractor:
        classifier = self.analyzer.classifiers[name]
        return FeatureExtractor(classifier.folder, classifier.card, self._threads)
