"""Track the faces of one camera from frame to frame, and smooth their predictions.

The time is an argument: a tracker keeps no clock, so that it behaves alike at any frame rate.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.vision.geometry import Box, iou, softmax
from app.vision.readings import Detection, FaceReading, Prediction, TrackedFace

# Smoothing. The values were measured on predictions for a still face under camera noise, and on
# changes from one confident expression to another; tests/app/vision/test_tracking.py holds both.
# The shown class yields only to one that leads it by this much probability...
LEAD = 0.2
# ...and has led for this long: a blink takes a tenth of a second.
DWELL_SECONDS = 0.25
# A prediction becomes unconfident this far below the model's threshold, confident as far above.
THRESHOLD_BAND = 0.1
# Probabilities are clipped to this, or one outlier would outweigh a second of other frames.
LEAST_PROBABILITY = 1e-4
# Time constant of the smoothing; 0 shows each frame's own prediction.
SMOOTHING_SECONDS = 0.2
MOST_SMOOTHING_SECONDS = 2.0

# Matching.
# Least IoU of the same face in two frames: two neighbours' boxes never overlap this much.
LEAST_IOU = 0.3
# Faces that moved further match if their centres are within this many sides of the larger box,
FARTHEST_SIDES = 1.0
# and their sizes no more than this factor apart, or a passer-by behind would inherit the number. A
# head seen from behind, where it is taken for a face, may be 0.7 or 1.5 times its face.
SIZE_FACTOR = 2.2
# A face missed for no longer than this is still reported at its last position: the detector
# misses single frames, and a box that blinks is worse than one that is slightly late.
HOLD_SECONDS = 0.25
# A new face with a lower score is shown from its second frame on: false boxes are mostly gone by
# then ("probation" in Bewley et al., "Simple online and realtime tracking", 2016, section 3.4).
CONFIRMED_SCORE = 0.5


# Seconds of a film: a face turned away for two keeps its number; later it may be another.
FILM_MAX_AGE = 3.0


class SmoothedPrediction:
    """Smooth one model's predictions for one face, and show a class that doesn't flicker."""

    def __init__(self, first: Prediction, now: float) -> None:
        self._names = list(first.probabilities)
        self._log = _log_probabilities(first)
        self._updated = now
        self._threshold = first.threshold
        self._label = first.label
        self._confident = first.confident
        self._reason = first.reason
        self._challenger: tuple[str, float] | None = None
        self._crossed_at: float | None = None

    def update(self, prediction: Prediction, smoothing_seconds: float, now: float) -> None:
        """Take the prediction for a newer frame into the exponential moving average.

        It averages log-probabilities, which are the scaled logits up to a constant that the
        softmax drops. The weight of the new frame grows with the time since the last one, so that
        the average follows equally fast at any frame rate.
        """
        weight = -math.expm1(-(now - self._updated) / smoothing_seconds)
        self._log += weight * (_log_probabilities(prediction) - self._log)
        # The threshold of a face taken for a child's in some frames rises smoothly, too.
        self._threshold += weight * (prediction.threshold - self._threshold)
        self._updated = now
        self._reason = prediction.reason
        self._choose_label(now)
        self._choose_confidence(now)

    def prediction(self) -> Prediction:
        """Return what is shown now; its label may trail the likeliest class for a moment.

        Its probability is that of the label, and its threshold the one that `confident` waits for.
        """
        probabilities = self._probabilities()
        lower, upper = self._limits()
        return Prediction(
            label=self._label,
            probability=probabilities[self._label],
            confident=self._confident,
            probabilities=probabilities,
            threshold=lower if self._confident else upper,
            reason=None if self._confident else self._reason,
        )

    def _probabilities(self) -> dict[str, float]:
        return dict(zip(self._names, softmax(self._log).tolist(), strict=True))

    def _limits(self) -> tuple[float, float]:
        """Return below which probability `confident` is lost, and from which it is gained."""
        # A threshold near 1 must stay within reach, one near 0 must stay possible to miss.
        lower = max(self._threshold - THRESHOLD_BAND, self._threshold / 2)
        return lower, min(self._threshold + THRESHOLD_BAND, (1 + self._threshold) / 2)

    def _choose_label(self, now: float) -> None:
        """Change to a class that has led for long enough."""
        probabilities = self._probabilities()
        best = max(probabilities, key=probabilities.__getitem__)
        if probabilities[best] - probabilities[self._label] < LEAD:
            self._challenger = None
            return
        if self._challenger is None or self._challenger[0] != best:
            self._challenger = (best, now)
        if now - self._challenger[1] >= DWELL_SECONDS:
            self._label, self._challenger = best, None
            self._confident = self._reason is None and probabilities[best] >= self._threshold
            self._crossed_at = None

    def _choose_confidence(self, now: float) -> None:
        """Change `confident` once the probability has left the band for long enough.

        So does a reason for which the face can't be read, when it comes and when it goes.
        """
        lower, upper = self._limits()
        probability = self._probabilities()[self._label]
        readable = self._reason is None
        if self._confident:
            crossed = probability < lower or not readable
        else:
            crossed = probability >= upper and readable
        if not crossed:
            self._crossed_at = None
            return
        if self._crossed_at is None:
            self._crossed_at = now
        if now - self._crossed_at >= DWELL_SECONDS:
            self._confident, self._crossed_at = not self._confident, None


@dataclass
class _Track:
    """Hold one face; its number is 0 until it is shown."""

    detection: Detection
    detected_at: float
    missed_since: float | None = None
    number: int = 0
    predictions: dict[str, SmoothedPrediction] = field(default_factory=dict)


class Tracker:
    """Give each face of one camera a lasting number and smoothed predictions."""

    def __init__(self, max_age: float) -> None:
        """Start without faces.

        A face missed for longer than `max_age` seconds has left, and gets a new number when it
        comes back.
        """
        self.smoothing_seconds = SMOOTHING_SECONDS
        self._max_age = max_age
        self._tracks: list[_Track] = []
        self._next_number = 1

    def last_detections(self, now: float) -> list[Detection]:
        """Return the last detection of each face that hasn't left."""
        self._end_tracks(now)
        return [track.detection for track in self._tracks]

    def update(self, faces: Sequence[FaceReading], now: float) -> tuple[TrackedFace, ...]:
        """Take the faces read in the newest frame; return them with their numbers.

        Faces missed for a moment are among them at their last position. `now` is in seconds and
        never decreases.
        """
        self._end_tracks(now)
        matches = match_boxes(
            [track.detection.box for track in self._tracks], [face.box for face in faces]
        )
        known = list(self._tracks)
        for index, face in enumerate(faces):
            if index in matches:
                track = known[matches[index]]
                track.detection, track.detected_at, track.missed_since = face, now, None
            else:
                track = _Track(face, now)
                self._tracks.append(track)
            if not track.number and (index in matches or face.score >= CONFIRMED_SCORE):
                track.number = self._next_number
                self._next_number += 1
            self._smooth(track, face.predictions, now)
        # However far apart frames come, no face has left while each frame had it.
        for track in self._tracks:
            if track.detected_at < now and track.missed_since is None:
                track.missed_since = now
        return tuple(self._shown(now))

    def rescale(self, factor: float) -> None:
        """Continue in frames whose sides have `factor` times as many pixels."""
        for track in self._tracks:
            box = track.detection.box.scaled(factor)
            track.detection = track.detection.model_copy(update={"box": box})

    def forget(self) -> None:
        """Forget all faces; their numbers are not reused."""
        self._tracks = []

    def forget_predictions(self) -> None:
        """Restart the smoothing, as predictions of different models can't be averaged."""
        for track in self._tracks:
            track.predictions.clear()

    def _end_tracks(self, now: float) -> None:
        self._tracks = [
            track
            for track in self._tracks
            if track.missed_since is None or now - track.missed_since <= self._max_age
        ]

    def _smooth(self, track: _Track, predictions: Mapping[str, Prediction], now: float) -> None:
        for task, prediction in predictions.items():
            if task in track.predictions and self.smoothing_seconds:
                track.predictions[task].update(prediction, self.smoothing_seconds, now)
            else:
                track.predictions[task] = SmoothedPrediction(prediction, now)

    def _shown(self, now: float) -> Iterable[TrackedFace]:
        for track in self._tracks:
            if track.number and now - track.detected_at <= HOLD_SECONDS:
                predictions = {task: each.prediction() for task, each in track.predictions.items()}
                yield TrackedFace(
                    box=track.detection.box,
                    score=track.detection.score,
                    roll_degrees=track.detection.roll_degrees,
                    track=track.number,
                    detected=track.detected_at == now,
                    **predictions,
                )


def match_boxes(last: Sequence[Box], boxes: Sequence[Box]) -> dict[int, int]:
    """Match boxes with the last boxes of the same faces: index in `boxes` to index in `last`.

    Pairs are taken greedily, first by IoU, then by distance. That differs from the optimal
    assignment (Kuhn's "Hungarian method", 1955) only where faces are within a face's width of each
    other, and the optimum is no likelier to be right there; SciPy would be larger than the rest of
    the server.
    """
    if not last or not boxes:
        return {}
    one = np.array([box.corners for box in last])[:, None]
    other = np.array([box.corners for box in boxes])
    overlaps = iou(one, other)
    width, other_width = one[..., 2] - one[..., 0], other[..., 2] - other[..., 0]
    larger, smaller = np.maximum(width, other_width), np.minimum(width, other_width).clip(1)
    centre, other_centre = (each[..., :2] + each[..., 2:] for each in (one, other))
    distances = np.hypot(*np.moveaxis(centre - other_centre, -1, 0)) / 2 / larger
    near = (distances <= FARTHEST_SIDES) & (larger / smaller <= SIZE_FACTOR)
    pairs = [
        *sorted((-overlaps[p, b], p, b) for p, b in np.argwhere(overlaps >= LEAST_IOU).tolist()),
        *sorted((distances[p, b], p, b) for p, b in np.argwhere(near).tolist()),
    ]
    matches: dict[int, int] = {}
    taken: set[int] = set()
    for _, previous, box in pairs:
        if previous not in taken and box not in matches:
            matches[box] = previous
            taken.add(previous)
    return matches


def _log_probabilities(prediction: Prediction) -> np.ndarray:
    values = np.array(list(prediction.probabilities.values()))
    return np.log(np.maximum(values, LEAST_PROBABILITY))
