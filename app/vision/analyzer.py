"""Take a photo through the one call list: image, detection, crops, classifiers, readings."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from app.refusals import Refusal
from app.vision.cards import CARD, ModelError
from app.vision.classifiers import Classifier, Runtime, load_classifier
from app.vision.crops import cut_crop, shape_crop
from app.vision.detection import EFFORTS, VERIFIER, Effort, FaceDetector, Trace
from app.vision.images import decode_image
from app.vision.readings import Analysis, Detection, FaceReading, Prediction


class FaceAnalyzer:
    """Find the faces of a photo and read each with every model.

    One analyzer serves any number of threads: it keeps nothing of a photo.
    """

    def __init__(self, classifiers: dict[str, Classifier], detector: FaceDetector) -> None:
        """Join classifiers, by the name of their model, and a detector."""
        self.classifiers = classifiers
        self.detector = detector

    @classmethod
    def load(
        cls,
        models: str | Path,
        runtime: Runtime = "auto",
        threads: int = 1,
        expression_labels: str | None = None,
    ) -> FaceAnalyzer:
        """Load every model folder below `models`, verified against its card, and run each once.

        `threads` is what ONNX Runtime may use for one batch; `expression_labels` names the
        expression model's head that answers in place of its card's choice. Raises `ModelError`
        that names the file at fault.
        """
        found = sorted(path.parent for path in Path(models).glob(f"*/{CARD}"))
        folders = [folder for folder in found if folder.name != VERIFIER]
        if not folders:
            raise ModelError(f"{models} holds no models: no {CARD} in any folder of it.")
        classifiers = {}
        for folder in folders:
            head = expression_labels if folder.name == "expression" else None
            classifiers[folder.name] = load_classifier(folder, runtime, threads, head)
        analyzer = cls(classifiers, FaceDetector.load(Path(models), runtime, threads))
        # The first run of a network takes longest; nobody should wait for it.
        for classifier in classifiers.values():
            shape = classifier.card.shape
            classifier.predict(np.zeros((1, shape.size, shape.size, shape.channels), np.uint8))
        analyzer.detector.verifier.verify(np.zeros((32, 32), np.uint8), np.full((1, 4), 16.0))
        return analyzer

    def analyze_file(
        self, data: bytes, models: Iterable[str] | None = None, effort: str = "balanced"
    ) -> Analysis:
        """Decode a JPEG, PNG or WebP and analyze it.

        Raises `Refusal` for content that can't be read, for the name of a model that isn't
        loaded and for an unknown effort.
        """
        chosen, checked = self.choose(models), check_effort(effort)
        watch = _Watch()
        with watch.stage("decode"):
            image = decode_image(data)
        return self._analyze(image, chosen, checked, watch)

    def analyze(
        self, image: np.ndarray, models: Iterable[str] | None = None, effort: str = "balanced"
    ) -> Analysis:
        """Analyze a photo, RGB uint8 (height, width, 3), with all models or those named.

        `effort` says how hard faces are searched. Raises `Refusal` for the name of a model that
        isn't loaded and for an unknown effort, `ValueError` for an array of another form.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"A photo is uint8 (height, width, 3); got {image.dtype} {image.shape}."
            )
        return self._analyze(image, self.choose(models), check_effort(effort), _Watch())

    def choose(self, models: Iterable[str] | None) -> dict[str, Classifier]:
        """Return the named classifiers, all where none is named. Raises `Refusal`."""
        names = list(self.classifiers) if models is None else list(dict.fromkeys(models))
        unknown = [name for name in names if name not in self.classifiers]
        if unknown:
            choices = sorted(self.classifiers)
            raise Refusal(
                "unknown_model",
                400,
                f"There is no model {unknown[0]!r}. Choose from {', '.join(choices)}.",
                choices=choices,
            )
        return {name: self.classifiers[name] for name in names}

    def _analyze(
        self,
        image: np.ndarray,
        classifiers: dict[str, Classifier],
        effort: Effort,
        watch: _Watch,
    ) -> Analysis:
        """Run the call list after decoding."""
        faces = {n: c for n, c in classifiers.items() if c.card.region == "face"}
        pictures = {n: c for n, c in classifiers.items() if c.card.region == "image"}
        with watch.stage("detect"):
            trace = Trace()
            detections = self.detector.detect(image, effort, trace) if faces else []
        watch.note("detect_first", sum(look.milliseconds for look in trace.looks[:1]))
        watch.note("detect_second", sum(look.milliseconds for look in trace.looks[1:]))
        with watch.stage("classify"):
            readings = read_faces(image, detections, faces.values())
            picture = {
                name: classifier.predict(shape_crop(image, classifier.card.shape)[None])[0]
                for name, classifier in pictures.items()
            }
        return Analysis(
            width=image.shape[1],
            height=image.shape[0],
            faces=readings,
            timings_ms=watch.timings_ms(),
            models={name: classifier.digest[:12] for name, classifier in classifiers.items()},
            picture=picture,
        )


def check_effort(effort: str) -> Effort:
    """Return a known effort. Raises `Refusal`."""
    for known in EFFORTS:
        if effort == known:
            return known
    raise Refusal(
        "unknown_effort",
        400,
        f"There is no effort {effort!r}. Choose from {', '.join(EFFORTS)}.",
        choices=list(EFFORTS),
    )


def read_faces(
    image: np.ndarray, detections: list[Detection], classifiers: Iterable[Classifier]
) -> tuple[FaceReading, ...]:
    """Read all faces of a photo, one batch for each classifier."""
    predictions: list[dict[str, Prediction]] = [{} for _ in detections]
    if detections:
        for classifier in classifiers:
            shape = classifier.card.shape
            crops = np.stack([cut_crop(image, found, shape) for found in detections])
            for reading, prediction in zip(predictions, classifier.predict(crops), strict=True):
                reading[classifier.card.task] = prediction
    return tuple(map(FaceReading, detections, predictions))


class _Watch:
    """Time the stages of one analysis."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._stages = {"decode": 0.0, "detect": 0.0, "classify": 0.0}

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
