"""Take a photo through the analyzer's own call list and keep every stage to show it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from app.errors import RautError
from app.vision.explain.feature_maps import FeatureExtractor, Layer
from app.vision.explain.saliency import grad_cam, occlude
from app.vision.models.classifiers import Classifier, energy_scores, read_probabilities
from app.vision.pipeline import FaceAnalyzer
from app.vision.readings import Analysis, Prediction
from app.vision.tracing import Trace


@dataclass(frozen=True)
class Range:
    """Bound a setting of the detector that a reader may change."""

    low: float
    high: float
    step: float


# What one request may cost bounds them: the finest search takes about ten times the usual one.
ADJUSTABLE = {
    "working_side": Range(64, 640, 16),
    "most_proposals": Range(1, 96, 1),
    "promising": Range(0.0, 1.0, 0.01),
    "accepted": Range(0.0, 1.0, 0.001),
    "accepted_more_passes": Range(0.0, 1.0, 0.001),
}


@dataclass(frozen=True)
class Reading:
    """Hold how one crop became an answer.

    `crop` is uint8 (size, size, channels); `logits` of the answerable classes `names`, `scaled`
    the same after the temperature, `shares` after the softmax; `energy` of all the head's logits;
    `layers` and `filters` of the network; `occlusion` float (classes, size, size) and `cam` as in
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
    """Hold the analysis of a photo with its stages, and one crop's reading in full.

    `face` is the index of the face that is explained; None for a whole-picture model and where
    there is none. `reading` is None where there is no crop to read.
    """

    analysis: Analysis
    trace: Trace
    face: int | None
    reading: Reading | None


class Explainer:
    """Explain photos; it keeps networks with their insides laid open, and nothing of a photo."""

    def __init__(self, analyzer: FaceAnalyzer, threads: int = 1) -> None:
        self.analyzer = analyzer
        self._threads = threads
        self._insides: dict[str, FeatureExtractor] = {}
        self._lock = threading.Lock()

    def explain(
        self,
        data: bytes,
        model: str,
        face: int = 0,
        models: Iterable[str] | None = None,
        label_set: str | None = None,
        effort: str = "balanced",
        adjustments: dict[str, float] | None = None,
    ) -> Explanation:
        """Analyze a photo as the API does, and explain what one model reads in one face.

        `model` names one of the models that answer, `face` the face's index (the last one where
        there are fewer); `effort` says how hard faces are searched; `adjustments` change the
        detector's settings. Raises `RautError` as the analyzer does, and for an adjustment out of
        its range.
        """
        analyzer = self._adjusted(adjustments or {})
        classifier = self._find_model(model, analyzer.choose(models, label_set))
        trace = Trace()
        analysis = analyzer.analyze_file(data, models, label_set, effort, trace)
        faces = len(analysis.faces) if classifier.card.region == "face" else 1
        place = min(face, faces - 1)
        if place < 0:
            return Explanation(analysis, trace, None, None)
        reading = self._read(classifier, trace, analysis, place)
        shown = place if classifier.card.region == "face" else None
        return Explanation(analysis, trace, shown, reading)

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
        detector = self.analyzer.detector.adjusted(**adjustments)
        return FaceAnalyzer(self.analyzer.classifiers, detector)

    def _find_model(self, model: str, answering: dict[str, Classifier]) -> Classifier:
        """Return the model to explain. Raises `RautError` where it doesn't answer."""
        if model not in answering:
            choices = sorted(answering)
            raise RautError(
                "unknown_model",
                f"There is no model {model!r} that answers. Choose from {', '.join(choices)}.",
                choices=choices,
            )
        return answering[model]

    def _read(
        self, classifier: Classifier, trace: Trace, analysis: Analysis, place: int
    ) -> Reading:
        """Follow one crop from its pixels to the answer that the analysis gives."""
        name = classifier.card.name
        crops, logits = trace.find("crops", name), trace.find("logits", name)
        assert crops is not None
        assert logits is not None
        crop = crops.values["crops"][place]
        row = logits.values["logits"][place]
        names, shares = read_probabilities(classifier.head, row[None])
        kept = [classifier.head.classes.index(each) for each in names]
        insides = self._open(classifier)
        return Reading(
            classifier=classifier,
            crop=crop,
            names=names,
            logits=row[kept],
            scaled=row[kept] / classifier.head.temperature,
            shares=shares[0],
            energy=float(energy_scores(row[None])[0]),
            prediction=_prediction(classifier, analysis, place),
            filters=insides.filters,
            layers=insides.layers(crop),
            occlusion=occlude(classifier, crop),
            cam=grad_cam(classifier, crop),
        )

    def _open(self, classifier: Classifier) -> FeatureExtractor:
        """Return a model's network with its insides laid open, loaded once for a process."""
        with self._lock:
            name = classifier.card.name
            if name not in self._insides:
                self._insides[name] = FeatureExtractor(
                    classifier.folder, classifier.card, self._threads
                )
            return self._insides[name]


def _prediction(classifier: Classifier, analysis: Analysis, place: int) -> Prediction:
    if classifier.card.region == "face":
        return analysis.faces[place].predictions[classifier.card.task]
    return analysis.image_predictions[classifier.card.name]
