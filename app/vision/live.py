"""Take a camera's frames through the call list, following faces instead of searching each frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import numpy as np

from app.errors import RautError
from app.vision.detection.detector import merge_overlapping
from app.vision.imaging.decoding import LazyImage, decode_frame
from app.vision.models.classifiers import Classifier
from app.vision.pipeline import FaceAnalyzer, Stopwatch, of_region, read_faces
from app.vision.readings import Analysis, Detection, FaceReading
from app.vision.tracking import Tracker

# The whole frame is searched this often, for faces that come in: a search costs as much as ten
# looks near the last places.
SEARCH_SECONDS = 1.0
# And no more often than this where a face was lost: its owner may simply have left.
SEARCH_AGAIN_SECONDS = 0.2
# The rounding of a smaller frame's sides changes their ratio by less than this; another shape is
# that of a camera turned on its side, or of another camera.
SAME_SHAPE = 0.02
# Two faces followed into each other are one where they share more than this of the smaller box.
SAME_FACE = 0.4


class LiveReader:
    """Read the frames of one camera; everything it remembers is about that camera only."""

    def __init__(
        self,
        analyzer: FaceAnalyzer,
        track_max_age: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._analyzer = analyzer
        self._classifiers: dict[str, Classifier] = {}
        self._tracker = Tracker(track_max_age)
        self._clock = clock
        self._searched_at = -float("inf")
        self._size: tuple[int, int] | None = None  # the last frame's height and width
        self.choose(None)

    def choose(self, models: Iterable[str] | None, label_set: str | None = None) -> None:
        """Read by those of the models that read faces, from the next frame on.

        The arguments and what is raised are as in `FaceAnalyzer.choose`; a choice that names no
        model of faces is refused too, with the code `no_face_model`.
        """
        faces = of_region(self._analyzer.choose(models, label_set), "face")
        if models is not None and not faces:
            raise _refuse_faceless(sorted(of_region(self._analyzer.classifiers, "face")))
        if _heads(faces) != _heads(self._classifiers):
            self._tracker.forget_readings()
        self._classifiers = faces

    @property
    def smoothing_seconds(self) -> float:
        """Return the time constant of the smoothing, in seconds."""
        return self._tracker.smoothing_seconds

    @smoothing_seconds.setter
    def smoothing_seconds(self, seconds: float) -> None:
        """Smooth with another time constant from the next frame on; 0 smooths nothing."""
        self._tracker.smoothing_seconds = seconds

    def read_frame(self, data: bytes) -> Analysis:
        """Read the faces in a JPEG frame; each is a `TrackedFace`.

        Raises `RautError` as `decode_frame` does, and where an inference server doesn't answer.
        """
        watch = Stopwatch()
        now = self._clock()
        with watch.stage("decode"):
            image = decode_frame(data)
        self._follow_size(image.shape[:2])
        with watch.stage("detect"):
            detections = self._find(image, now)
        with watch.stage("classify"):
            faces = self._read(image, detections)
            tracked = self._tracker.update(faces, now)
        return Analysis(
            width=image.shape[1],
            height=image.shape[0],
            faces=tracked,
            timings_ms=watch.timings_ms(),
            models={name: each.digest[:12] for name, each in self._classifiers.items()},
        )

    def _read(self, image: np.ndarray, detections: list[Detection]) -> tuple[FaceReading, ...]:
        """Read faces; where that fails, the next frame is searched for what was found in vain."""
        try:
            return read_faces(LazyImage.of(image), detections, self._classifiers.values())
        except RautError:
            self._searched_at = -float("inf")
            raise

    def _follow_size(self, size: tuple[int, int]) -> None:
        if self._size and size != self._size:
            down, across = (new / old for new, old in zip(size, self._size, strict=True))
            if abs(down / across - 1) < SAME_SHAPE:
                self._tracker.rescale(across)
            else:
                self._tracker.forget()
                self._searched_at = -float("inf")
        self._size = size

    def _find(self, image: np.ndarray, now: float) -> list[Detection]:
        """Look near the last places, or search the frame where that isn't enough."""
        places = self._tracker.places(now)
        since = now - self._searched_at
        if since >= SEARCH_SECONDS:
            return self._search(image, now)
        found = self._analyzer.detector.detect_near(image, places)
        if (not places or None in found) and since >= SEARCH_AGAIN_SECONDS:
            return self._search(image, now)
        near = [detection for detection in found if detection]
        return merge_overlapping(near, SAME_FACE)

    def _search(self, image: np.ndarray, now: float) -> list[Detection]:
        self._searched_at = now
        return self._analyzer.detector.detect(image, effort="fast")


def _refuse_faceless(choices: list[str]) -> RautError:
    """Refuse models that only read whole pictures; `choices` are those that read faces."""
    advice = f"Choose from {', '.join(choices)}." if choices else "This server has none that does."
    return RautError(
        "no_face_model",
        f"A live stream reads faces, and no model that was named does. {advice}",
        choices=choices,
    )


def _heads(classifiers: dict[str, Classifier]) -> dict[str, str]:
    return {name: classifier.head_name for name, classifier in classifiers.items()}
