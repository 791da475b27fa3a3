"""Take a photo through the one call list: image, detection, crops, classifiers, readings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.errors import unknown_choice
from app.vision.budget import Budget
from app.vision.detection.detector import (
    DEFAULT_DETECTOR,
    DETECTOR_FOLDERS,
    DETECTORS,
    EFFORTS,
    DetectorName,
    Effort,
    FaceDetector,
    PassResult,
)
from app.vision.imaging.crops import CropShape, cut_from_photo, shape_crop
from app.vision.imaging.decoding import LazyImage, open_image
from app.vision.models.cards import CARD, Card, ModelError, Region, load_card
from app.vision.models.classifiers import Classifier, load_classifier
from app.vision.models.files import Runtime
from app.vision.models.selection import Needed, choose_names, first_of_each_task
from app.vision.readings import Analysis, Detection, FaceReading, Prediction, Size
from app.vision.tracing import Trace

EXPRESSION = "expression"


@dataclass(eq=False)
class FaceAnalyzer:
    """Find the faces of a photo and read each with every model.

    One analyzer serves any number of threads: it keeps nothing of a photo. `mirror_averaging` is as
    in `read_faces`.
    """

    classifiers: dict[str, Classifier]
    detector: FaceDetector
    mirror_averaging: bool = True

    @classmethod
    def load(
        cls,
        models: str | Path,
        runtime: Runtime = "auto",
        threads: int = 1,
        label_set: str | None = None,
        needed: Needed | None = None,
        detector: DetectorName = DEFAULT_DETECTOR,
        mirror_averaging: bool = True,
    ) -> FaceAnalyzer:
        """Load the model folders below `models`, verified against their cards; run each once.

        `threads` is the number that ONNX Runtime may use for one batch. `label_set` names the
        expression model's head to use instead of its card's default. `needed` selects, of the
        cards, the models to load; by default all. `detector` is that of photos that name none, and
        `mirror_averaging` as in `read_faces`. Raises `ModelError` that names the file at fault, and
        what `needed` raises.
        """
        folders = {folder.name: folder for folder in _list_folders(Path(models))}
        cards = {name: load_card(folder) for name, folder in folders.items()}
        for name, card in cards.items():
            if card.name != name:
                raise ModelError(
                    f"{folders[name] / CARD} describes a model named {card.name!r}. Give the "
                    "folder that name."
                )
        classifiers = {
            name: load_classifier(
                folders[name], runtime, threads, label_set if name == EXPRESSION else None
            )
            for name in (needed(cards) if needed else cards)
        }
        loaded = FaceDetector.load(Path(models), runtime, threads)
        analyzer = cls(classifiers, replace(loaded, name=detector), mirror_averaging)
        analyzer.warm_up()
        return analyzer

    def warm_up(self) -> None:
        """Run every network once.

        Raises `ModelError` where a network differs from its card, `RautError` where an inference
        server doesn't answer.
        """
        for classifier in self.classifiers.values():
            classifier.warm_up()
        black = np.zeros((32, 32), np.uint8)
        for network in (self.detector.face_refiner, self.detector.face_classifier):
            network.classify(black, np.full((1, 4), 16.0))
        if self.detector.network:
            self.detector.network.propose(black, 1)

    def with_detector(self, name: str | None) -> FaceAnalyzer:
        """Return an analyzer with a detector of `DETECTORS`; by default itself.

        Raises `RautError`.
        """
        if name is None:
            return self
        for known in DETECTORS:
            if name == known:
                return replace(self, detector=replace(self.detector, name=known))
        raise unknown_choice("unknown_detector", f"There is no detector {name!r}.", DETECTORS)

    def analyze_file(
        self,
        data: bytes,
        models: Iterable[str] | None = None,
        label_set: str | None = None,
        effort: str = "balanced",
        trace: Trace | None = None,
        budget: Budget | None = None,
    ) -> Analysis:
        """Decode a photo in one of `FORMATS` and analyze it.

        `models` and `label_set` are as in `choose`; `effort` is one of `EFFORTS`; `trace` may keep
        what each stage hands on, and then holds the budget. Raises `RautError` for unreadable
        content, for an unknown model, label set or effort, and as the budget does.
        """
        chosen, checked = self.choose(models, label_set), check_effort(effort)
        trace = trace or Trace(budget=budget)
        with trace.timed("decode"):
            photo = open_image(data)
            photo.pixels(self._first_scale(photo, chosen.values(), checked))
        return self._analyze(photo, chosen, checked, trace)

    def analyze(
        self,
        image: np.ndarray,
        models: Iterable[str] | None = None,
        label_set: str | None = None,
        effort: str = "balanced",
    ) -> Analysis:
        """Analyze a photo, RGB uint8 (height, width, 3), with the models that `choose` returns.

        Raises `RautError` as `analyze_file` does, `ValueError` for another shape or dtype.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"A photo is uint8 (height, width, 3); got {image.dtype} {image.shape}."
            )
        chosen = self.choose(models, label_set)
        return self._analyze(LazyImage.of(image), chosen, check_effort(effort), Trace())

    def choose(
        self, models: Iterable[str] | None, label_set: str | None = None
    ) -> dict[str, Classifier]:
        """Return the classifiers that `choose_names` names.

        `label_set` names the head to use in the expression model. Raises `RautError` as
        `choose_names` does, and with the code `unknown_labels`.
        """
        names = choose_names(self._cards("face", "image"), models)
        chosen = {name: self.classifiers[name] for name in names}
        if label_set is not None:
            choices = sorted({each for c in self.classifiers.values() for each in labels_of(c)})
            if label_set not in choices:
                sentence = f"There are no expression labels {label_set!r}."
                raise unknown_choice("unknown_labels", sentence, choices)
            for name, classifier in chosen.items():
                if label_set in labels_of(classifier):
                    chosen[name] = replace(classifier, head_name=label_set)
        return chosen

    @property
    def image_models(self) -> list[str]:
        """Name the models that read whole images: one for each task, as by default."""
        return first_of_each_task(self._cards("image"))

    def _cards(self, *regions: Region) -> dict[str, Card]:
        cards = {name: classifier.card for name, classifier in self.classifiers.items()}
        return {name: card for name, card in cards.items() if card.region in regions}

    def _first_scale(
        self, photo: LazyImage, classifiers: Iterable[Classifier], effort: Effort
    ) -> float:
        """Return the scale at which the pixels of a photo are needed first."""
        cards = [each.card for each in classifiers]
        if any(card.region == "face" for card in cards):
            return self.detector.first_scale(photo, effort)
        return min((_image_scale(photo, card.shape) for card in cards), default=1.0)

    def _analyze(
        self, photo: LazyImage, classifiers: dict[str, Classifier], effort: Effort, trace: Trace
    ) -> Analysis:
        """Run the call list after decoding."""
        of_faces, of_images = (of_region(classifiers, region) for region in ("face", "image"))
        trace.add("photo", photo=photo)
        found = self._detect(photo, effort, trace) if of_faces else []
        detections = self.detector.keep_best(found)
        with trace.timed("classify"):
            faces = read_faces(photo, detections, of_faces.values(), trace, self.mirror_averaging)
            predictions = {
                name: _read_image(photo, classifier, trace)
                for name, classifier in of_images.items()
            }
        return Analysis(
            image=Size(width=photo.width, height=photo.height, complete=photo.complete),
            faces=faces,
            truncated=len(detections) < len(found),
            timings_ms=trace.timings_ms(),
            models={name: classifier.digest[:12] for name, classifier in classifiers.items()},
            image_predictions=predictions,
        )

    def _detect(self, photo: LazyImage, effort: Effort, trace: Trace) -> list[Detection]:
        passes: list[PassResult] = []
        with trace.timed("detect"):
            detections = self.detector.detect(photo, effort, passes, trace.budget)
        trace.set_time("detect_first_pass", sum(each.milliseconds for each in passes[:1]))
        trace.set_time("detect_more_passes", sum(each.milliseconds for each in passes[1:]))
        # The first pass that found a face is kept with the times of all passes.
        shown = next((each for each in passes if len(each.faces)), passes[0])
        times = (sum(each) for each in zip(*(each.stages_ms for each in passes), strict=True))
        image_ms, proposed_ms, classifier_ms = times
        trace.add("working_copy", "", image_ms, picture=shown.image, scale=shown.scale)
        trace.add("windows", "", proposed_ms, windows=shown.windows, boxes=shown.network_boxes)
        trace.add("proposals", "", classifier_ms, proposals=shown.proposals, passes=passes)
        return detections


def _list_folders(models: Path) -> list[Path]:
    """List the model folders but the detector's. Raises `ModelError` if there are none."""
    found = sorted(path.parent for path in models.glob(f"*/{CARD}"))
    folders = [folder for folder in found if folder.name not in DETECTOR_FOLDERS]
    if not folders:
        raise ModelError(f"{models} holds no models: no {CARD} in any folder of it.")
    return folders


def of_region(classifiers: dict[str, Classifier], region: Region) -> dict[str, Classifier]:
    """Return the classifiers that read a face's crop, or those that read the whole image."""
    return {name: each for name, each in classifiers.items() if each.card.region == region}


def labels_of(classifier: Classifier) -> list[str]:
    """Return the names of an expression model's label sets; none for another model."""
    return list(classifier.card.heads) if classifier.card.task == EXPRESSION else []


def check_effort(effort: str) -> Effort:
    """Return a known effort. Raises `RautError`."""
    for known in EFFORTS:
        if effort == known:
            return known
    raise unknown_choice("unknown_effort", f"There is no effort {effort!r}.", EFFORTS)


def read_faces(
    photo: LazyImage,
    detections: list[Detection],
    classifiers: Iterable[Classifier],
    trace: Trace,
    mirror_averaging: bool = False,
) -> tuple[FaceReading, ...]:
    """Read all faces of a photo, one batch for each classifier.

    With `mirror_averaging`, models whose card says so also read each face's mirror image.
    """
    predictions: list[dict[str, Prediction]] = [{} for _ in detections]
    if detections:
        for classifier in classifiers:
            shape = classifier.card.shape
            each = trace.budget.over(detections)  # may decode the photo at another scale
            crops = np.stack([cut_from_photo(photo, found, shape) for found in each])
            trace.add("crops", classifier.card.name, crops=crops)
            answers = classifier.predict(crops, trace, mirror_averaging, detections)
            for by_task, prediction in zip(predictions, answers, strict=True):
                by_task[classifier.card.task] = prediction
    return tuple(
        FaceReading(**dict(detection), **by_task)
        for detection, by_task in zip(detections, predictions, strict=True)
    )


def _read_image(photo: LazyImage, classifier: Classifier, trace: Trace) -> Prediction:
    crops = cut_image(photo, classifier.card.shape)[None]
    trace.add("crops", classifier.card.name, crops=crops)
    return classifier.predict(crops, trace)[0]


def cut_image(photo: LazyImage, shape: CropShape) -> np.ndarray:
    """Return a whole photo as a network takes it, uint8 (size, size, channels)."""
    pixels, _ = photo.pixels(_image_scale(photo, shape))
    return shape_crop(pixels, shape)


def _image_scale(photo: LazyImage, shape: CropShape) -> float:
    """Return the coarsest scale at which a whole photo has the crop's pixels."""
    return min(photo.width, photo.height) / shape.size
