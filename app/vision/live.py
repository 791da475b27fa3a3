"""Read a camera's frames: known faces are tracked, and the whole frame is searched now and then."""

import time
from collections.abc import Iterable

import numpy as np

from app.errors import RautError
from app.vision.budget import Budget
from app.vision.geometry import nms
from app.vision.imaging.decoding import LazyImage, decode_frame
from app.vision.imaging.shots import Shots
from app.vision.models.classifiers import Classifier
from app.vision.pipeline import FaceAnalyzer, of_region, read_faces
from app.vision.readings import Analysis, Detection, FaceReading, Size
from app.vision.tracing import Trace
from app.vision.tracking import Tracker

# The whole frame is searched this often, for new faces: it costs as much as tracking ten faces.
SEARCH_SECONDS = 1.0
# After a face is lost, it is searched at most this often: the person may simply have left.
SEARCH_AGAIN_SECONDS = 0.2
# The rounding of a smaller frame's sides changes their ratio by less than this; a larger change
# means that the camera was rotated or replaced.
SAME_SHAPE = 0.02
# Two tracked boxes are one face where they share more than this of the smaller box.
SAME_FACE = 0.4


class LiveReader:
    """Read the frames of one camera; its state is about that camera only."""

    def __init__(self, analyzer: FaceAnalyzer, track_max_age: float) -> None:
        """Start without faces; a face missed for `track_max_age` seconds keeps its number."""
        self._analyzer = analyzer
        self._classifiers: dict[str, Classifier] = {}
        self._tracker = Tracker(track_max_age)
        self._searched_at = -float("inf")
        self._size: tuple[int, int] | None = None  # the last frame's height and width
        self._shots = Shots()
        self.choose(None)

    def choose(self, models: Iterable[str] | None, label_set: str | None = None) -> None:
        """Use those of the models that read faces, from the next frame on.

        The arguments and errors are as in `FaceAnalyzer.choose`. Also raises `RautError` with the
        code `no_face_model` for models that only read whole images.
        """
        faces = of_region(self._analyzer.choose(models, label_set), "face")
        if models is not None and not faces:
            choices = sorted(of_region(self._analyzer.classifiers, "face"))
            advice = f"Choose from {', '.join(choices)}." if choices else "This server has none."
            raise RautError(
                "no_face_model",
                f"A live stream needs a model that reads faces, and none was named. {advice}",
                choices=choices,
            )
        if _head_names(faces) != _head_names(self._classifiers):
            self._tracker.forget_predictions()
        self._classifiers = faces

    def smooth(self, seconds: float) -> None:
        """Set the time constant of the smoothing; 0 smooths nothing."""
        self._tracker.smoothing_seconds = seconds

    def read_frame(
        self, data: bytes, budget: Budget | None = None, at: float | None = None
    ) -> Analysis:
        """Read the faces in a JPEG frame; each is a `TrackedFace`.

        `at` is the frame's time in seconds, which never decreases: a film's media time, or for a
        camera, by default, the time now. Smoothing, tracks and searches go by it. Raises
        `RautError` as `decode_frame` and the budget do, and where an inference server doesn't
        answer.
        """
        trace = Trace(budget=budget)
        now = time.monotonic() if at is None else at
        with trace.timed("decode"):
            image = decode_frame(data)
        self._follow_size(image.shape[:2])
        # Who is, after a cut, where somebody was before it may be another.
        if at is not None and self._shots.begins(image):
            self._forget()
        with trace.timed("detect"):
            detections = self._detect(image, now, trace.budget)
        with trace.timed("classify"):
            faces = self._read(image, detections, trace)
            tracked = self._tracker.update(faces, now)
        return Analysis(
            image=Size(width=image.shape[1], height=image.shape[0]),
            faces=tracked,
            timings_ms=trace.timings_ms(),
            models={name: each.digest[:12] for name, each in self._classifiers.items()},
        )

    def _read(
        self, image: np.ndarray, detections: list[Detection], trace: Trace
    ) -> tuple[FaceReading, ...]:
        try:
            return read_faces(LazyImage.of(image), detections, self._classifiers.values(), trace)
        except RautError:
            # The tracker never learns of these faces: the next frame is searched for them.
            self._searched_at = -float("inf")
            raise

    def _follow_size(self, size: tuple[int, int]) -> None:
        """Rescale the tracked faces to frames of another size."""
        if self._size and size != self._size:
            down, across = (new / old for new, old in zip(size, self._size, strict=True))
            if abs(down / across - 1) < SAME_SHAPE:
                self._tracker.rescale(across)
            else:
                self._forget()
        self._size = size

    def _forget(self) -> None:
        self._tracker.forget()
        self._searched_at = -float("inf")

    def _detect(self, image: np.ndarray, now: float, budget: Budget) -> list[Detection]:
        """Find the known faces near their last positions, or search the frame."""
        last = self._tracker.last_detections(now)
        since = now - self._searched_at
        if since < SEARCH_SECONDS:
            found = self._analyzer.detector.detect_near(image, last)
            if since < SEARCH_AGAIN_SECONDS or (last and None not in found):
                return _suppress_overlaps([face for face in found if face])
        self._searched_at = now
        detector = self._analyzer.detector
        return detector.keep_best(detector.detect(image, effort="fast", budget=budget))


def _suppress_overlaps(detections: list[Detection]) -> list[Detection]:
    """Return what non-maximum suppression keeps of detections, best score first."""
    boxes = np.array([detection.box.corners for detection in detections]).reshape(-1, 4)
    scores = np.array([detection.score for detection in detections])
    return [detections[index] for index in nms(boxes, scores, SAME_FACE)]


def _head_names(classifiers: dict[str, Classifier]) -> dict[str, str]:
    return {name: classifier.head_name for name, classifier in classifiers.items()}
