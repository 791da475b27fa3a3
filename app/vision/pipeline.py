"""Take a photo through the one call list: image, detection, crops, classifiers, readings."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from app.errors import RautError
from app.vision.detection.detector import EFFORTS, FACE_CLASSIFIER, Effort, FaceDetector, PassResult
from app.vision.imaging.crops import CropShape, cut_from_photo, shape_crop
from app.vision.imaging.decoding import LazyImage, open_image
from app.vision.models.cards import CARD, Card, ModelError, Region, load_card
from app.vision.models.classifiers import Classifier, Runtime, load_classifier
from app.vision.models.selection import Needed, choose_names, first_of_each_task
from app.vision.readings import Analysis, Detection, FaceReading, Prediction
from app.vision.tracing import Trace, record

EXPRESSION = "expression"


class FaceAnalyzer:
    """Find the faces of a photo and read each with every model.

    One analyzer serves any number of threads: it keeps nothing of a photo.
    """

    def __init__(self, classifiers: dict[str, Classifier], detector: FaceDetector) -> None:
        self.classifiers = classifiers
        self.detector = detector

    @classmethod
    def load(
        cls,
        models: str | Path,
        runtime: Runtime = "auto",
        threads: int = 1,
        label_set: str | None = None,
        needed: Needed | None = None,
    ) -> FaceAnalyzer:
        """Load the model folders below `models`, verified against their cards; run each once.

        `threads` is what ONNX Runtime may use for one batch; `label_set` names the
        expression model's head that answers in place of its card's choice; `needed` names those
        of the cards whose models are loaded, all where it isn't given. Raises `ModelError` that
        names the file at fault, and what `needed` raises.
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
        analyzer = cls(classifiers, FaceDetector.load(Path(models), runtime, threads))
        analyzer.warm_up()
        return analyzer

    def warm_up(self) -> None:
        """Run every network once.

        Raises `ModelError` where one isn't as its card says, `RautError` where an inference server
        doesn't answer.
        """
        for classifier in self.classifiers.values():
            classifier.warm_up()
        self.detector.face_classifier.verify(np.zeros((32, 32), np.uint8), np.full((1, 4), 16.0))

    def analyze_file(
        self,
        data: bytes,
        models: Iterable[str] | None = None,
        label_set: str | None = None,
        effort: str = "balanced",
        trace: Trace | None = None,
    ) -> Analysis:
        """Decode a JPEG, PNG or WebP and analyze it.

        `models` and `label_set` are as in `choose`; `effort` says how hard faces are
        searched; `trace` keeps what every stage handed on. Raises `RautError` for content that
        can't be read, for the name of a model or of labels that aren't loaded and for an unknown
        effort.
        """
        chosen, checked = self.choose(models, label_set), check_effort(effort)
        watch = Stopwatch()
        with watch.stage("decode"):
            photo = open_image(data)
            photo.pixels(self._first_scale(photo, chosen.values(), checked))
        return self._analyze(photo, chosen, checked, watch, trace)

    def analyze(
        self,
        image: np.ndarray,
        models: Iterable[str] | None = None,
        label_set: str | None = None,
        effort: str = "balanced",
    ) -> Analysis:
        """Analyze a photo, RGB uint8 (height, width, 3), with the models that `choose` gives.

        `effort` says how hard faces are searched. Raises `RautError` as `choose` does and for an
        unknown effort, `ValueError` for an array of another form.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"A photo is uint8 (height, width, 3); got {image.dtype} {image.shape}."
            )
        chosen = self.choose(models, label_set)
        return self._analyze(LazyImage.of(image), chosen, check_effort(effort), Stopwatch())

    def choose(
        self, models: Iterable[str] | None, label_set: str | None = None
    ) -> dict[str, Classifier]:
        """Return the classifiers that `choose_names` names.

        `label_set` names the head that answers in the expression model. Raises
        `RautError` as `choose_names` does, and with the code `unknown_labels`.
        """
        names = choose_names(self._cards("face", "image"), models)
        chosen = {name: self.classifiers[name] for name in names}
        if label_set is not None:
            self._check_labels(label_set)
            for name, classifier in chosen.items():
                if label_set in labels_of(classifier):
                    chosen[name] = classifier.answering_by(label_set)
        return chosen

    @property
    def picture_models(self) -> list[str]:
        """Name the models that read whole pictures: one for each task, as by default."""
        return first_of_each_task(self._cards("image"))

    def _cards(self, *regions: Region) -> dict[str, Card]:
        cards = {name: classifier.card for name, classifier in self.classifiers.items()}
        return {name: card for name, card in cards.items() if card.region in regions}

    def _first_scale(
        self, photo: LazyImage, classifiers: Iterable[Classifier], effort: Effort
    ) -> float:
        """Return the scale at which a photo's pixels are wanted first."""
        cards = [each.card for each in classifiers]
        if any(card.region == "face" for card in cards):
            return self.detector.first_scale(photo, effort)
        return min((_picture_scale(photo, card.shape) for card in cards), default=1.0)

    def _check_labels(self, name: str) -> None:
        choices = sorted({each for c in self.classifiers.values() for each in labels_of(c)})
        if name not in choices:
            raise RautError(
                "unknown_labels",
                f"There are no expression labels {name!r}. Choose from {', '.join(choices)}.",
                choices=choices,
            )

    def _analyze(
        self,
        photo: LazyImage,
        classifiers: dict[str, Classifier],
        effort: Effort,
        watch: Stopwatch,
        trace: Trace | None = None,
    ) -> Analysis:
        faces, pictures = (of_region(classifiers, region) for region in ("face", "image"))
        record(trace, "photo", photo=photo)
        detections = self._detect(photo, effort, watch, trace) if faces else []
        with watch.stage("classify"):
            readings = read_faces(photo, detections, faces.values(), trace)
            predictions = {
                name: _read_picture(photo, classifier, trace)
                for name, classifier in pictures.items()
            }
        return Analysis(
            width=photo.width,
            height=photo.height,
            faces=readings,
            timings_ms=watch.timings_ms(),
            models={name: classifier.digest[:12] for name, classifier in classifiers.items()},
            image_predictions=predictions,
        )

    def _detect(
        self, photo: LazyImage, effort: Effort, watch: Stopwatch, trace: Trace | None
    ) -> list[Detection]:
        passes: list[PassResult] = []
        with watch.stage("detect"):
            detections = self.detector.detect(photo, effort, passes)
        watch.note("detect_first_pass", sum(search_pass.milliseconds for search_pass in passes[:1]))
        watch.note(
            "detect_more_passes", sum(search_pass.milliseconds for search_pass in passes[1:])
        )
        _record_passes(trace, passes)
        return detections


def _list_folders(models: Path) -> list[Path]:
    """List the folders of models that answer. Raises `ModelError` where there is none."""
    found = sorted(path.parent for path in models.glob(f"*/{CARD}"))
    folders = [folder for folder in found if folder.name != FACE_CLASSIFIER]
    if not folders:
        raise ModelError(f"{models} holds no models: no {CARD} in any folder of it.")
    return folders


def of_region(classifiers: dict[str, Classifier], region: Region) -> dict[str, Classifier]:
    """Return those that read a face's crop, or those that read the whole picture."""
    return {name: each for name, each in classifiers.items() if each.card.region == region}


def labels_of(classifier: Classifier) -> list[str]:
    """Return the names of the labels that an expression model can follow, none for another."""
    return list(classifier.card.heads) if classifier.card.task == EXPRESSION else []


def check_effort(effort: str) -> Effort:
    """Return a known effort. Raises `RautError`."""
    for known in EFFORTS:
        if effort == known:
            return known
    raise RautError(
        "unknown_effort",
        f"There is no effort {effort!r}. Choose from {', '.join(EFFORTS)}.",
        choices=list(EFFORTS),
    )


def _record_passes(trace: Trace | None, passes: list[PassResult]) -> None:
    """Keep the stages of the look that found a face, or else of the first; the time of all."""
    shown = next(
        (search_pass for search_pass in passes if len(search_pass.faces)),
        passes[0] if passes else None,
    )
    if shown:
        copying = sum(search_pass.copying_ms for search_pass in passes)
        searching = sum(search_pass.searching_ms for search_pass in passes)
        verifying = sum(search_pass.verifying_ms for search_pass in passes)
        record(trace, "working_copy", "", copying, picture=shown.copy, scale=shown.scale)
        record(trace, "windows", "", searching, windows=shown.windows)
        record(trace, "proposals", "", verifying, squares=shown.proposals, passes=passes)


def read_faces(
    photo: LazyImage,
    detections: list[Detection],
    classifiers: Iterable[Classifier],
    trace: Trace | None = None,
) -> tuple[FaceReading, ...]:
    """Read all faces of a photo, one batch for each classifier."""
    predictions: list[dict[str, Prediction]] = [{} for _ in detections]
    if detections:
        for classifier in classifiers:
            shape = classifier.card.shape
            crops = np.stack([cut_from_photo(photo, found, shape) for found in detections])
            record(trace, "crops", classifier.card.name, crops=crops)
            answers = classifier.predict(crops, trace)
            for reading, prediction in zip(predictions, answers, strict=True):
                reading[classifier.card.task] = prediction
    return tuple(map(FaceReading, detections, predictions))


def _read_picture(photo: LazyImage, classifier: Classifier, trace: Trace | None) -> Prediction:
    shape = classifier.card.shape
    pixels, _ = photo.pixels(_picture_scale(photo, shape))
    crops = shape_crop(pixels, shape)[None]
    record(trace, "crops", classifier.card.name, crops=crops)
    return classifier.predict(crops, trace)[0]


def _picture_scale(photo: LazyImage, shape: CropShape) -> float:
    """Return the coarsest scale at which a whole photo has the crop's pixels."""
    return min(photo.width, photo.height) / shape.size


class Stopwatch:
    """Time the stages of one analysis."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages = {"decode": 0.0}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside the `with` block."""
        started = time.perf_counter()
        yield
        self._stages[name] = (time.perf_counter() - started) * 1000

    def note(self, name: str, milliseconds: float) -> None:
        """Take over a part of a stage that was timed elsewhere."""
        self._stages[name] = milliseconds

    def timings_ms(self) -> dict[str, float]:
        """Return the milliseconds of each stage and in total, until now."""
        return {**self._stages, "total": (time.perf_counter() - self._started) * 1000}
