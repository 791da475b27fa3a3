"""Know who is who from frame to frame, and read each face steadily.

A tracker belongs to one camera. It takes the time as an argument and keeps no clock, so that it
behaves alike at any frame rate and in a test.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from app.vision.geometry import Box, iou, softmax
from app.vision.readings import Detection, FaceReading, Prediction


@dataclass(frozen=True)
class SmoothingSettings:
    """Set how a shown reading follows what the networks answer, with the reason for each value.

    Measured on the networks' answers for a still face under camera noise, and on changes from
    one sure expression to another: `tests/app/test_tracking.py` holds both goals.
    """

    # The shown class yields only to one that leads it by this much probability...
    lead: float = 0.2
    # ...and has led for this long: a blink takes a tenth of a second.
    dwell_seconds: float = 0.25
    # "Unsure" begins this far below the model's threshold and ends as far above it.
    threshold_band: float = 0.1


@dataclass(frozen=True)
class MatchingSettings:
    """Set what counts as the same face in the next frame."""

    # Intersection over union: two neighbours' boxes never share this much.
    least_overlap: float = 0.3
    # For what jumped further: centres within this many sides of the larger box,
    farthest_sides: float = 1.0
    # and sizes no more than this factor apart, or a passer-by behind would inherit the number.
    size_factor: float = 1.8
    # A face missed for no longer than this is still answered at its last place: the detector
    # misses single frames, and a box that blinks is worse than one that is slightly late.
    hold_seconds: float = 0.25
    # A newcomer that the detector isn't sure of waits for its second sighting: false boxes are
    # mostly gone in the next frame (the "probation" of Bewley et al., "Simple online and realtime
    # tracking", 2016, section 3.4).
    sure_score: float = 0.5


# Probabilities below this count as this, or one wild frame would outweigh a second of others.
LEAST_PROBABILITY = 1e-4
# Time constant of the smoothing; 0 shows each frame's own reading.
SMOOTHING_SECONDS = 0.2
MOST_SMOOTHING_SECONDS = 2.0


@dataclass(frozen=True)
class TrackedFace(FaceReading):
    """Hold a face with its number on this camera.

    `track` counts from 1 and is never given twice. `detected` is false while the face is missed
    and answered at its last place.
    """

    track: int = 0
    detected: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the face as a JSON object."""
        return {"track": self.track, "detected": self.detected, **super().to_json()}


class SmoothedPrediction:
    """Smooth one model's answers for one face, and show a class that doesn't flicker."""

    def __init__(self, first: Prediction, now: float) -> None:
        self._settings = SmoothingSettings()
        self._names = list(first.probabilities)
        self._log = _log_probabilities(first)
        self._updated = now
        self._unsure_below = first.threshold
        self._label = first.label
        self._confident = first.confident
        self._challenger: tuple[str, float] | None = None
        self._doubted_since: float | None = None

    def update(self, prediction: Prediction, smoothing_seconds: float, now: float) -> None:
        """Take the answer for a newer frame.

        An exponential average of log-probabilities, which are the logits over the temperature up
        to a constant that the softmax drops. The weight of the new answer grows with the time
        since the last one, so that the average follows equally fast at any frame rate.
        """
        weight = 1.0
        if smoothing_seconds > 0:
            weight = -math.expm1(-(now - self._updated) / smoothing_seconds)
        self._log += weight * (_log_probabilities(prediction) - self._log)
        # A face taken for a child's in some frames only is doubted more, and not by turns.
        self._unsure_below += weight * (prediction.threshold - self._unsure_below)
        self._updated = now
        self._choose_label(now)
        self._choose_certainty(now)

    def prediction(self) -> Prediction:
        """Return what is shown now; its label may trail the likeliest class for a moment."""
        probabilities = self._probabilities()
        return Prediction(
            self._label,
            probabilities[self._label],
            self._confident,
            probabilities,
            self._unsure_below,
        )

    def _probabilities(self) -> dict[str, float]:
        return dict(zip(self._names, softmax(self._log).tolist(), strict=True))

    def _choose_label(self, now: float) -> None:
        probabilities = self._probabilities()
        best = max(probabilities, key=probabilities.__getitem__)
        if probabilities[best] - probabilities[self._label] < self._settings.lead:
            self._challenger = None
            return
        if self._challenger is None or self._challenger[0] != best:
            self._challenger = (best, now)
        if now - self._challenger[1] >= self._settings.dwell_seconds:
            self._label, self._challenger = best, None
            self._confident = probabilities[best] >= self._unsure_below
            self._doubted_since = None

    def _choose_certainty(self, now: float) -> None:
        """Turn unsure or sure again once the probability has left the band for long enough."""
        band = self._settings.threshold_band
        # A threshold near 1 must stay within reach, one near 0 must stay possible to miss.
        enough = min(self._unsure_below + band, (1 + self._unsure_below) / 2)
        too_little = max(self._unsure_below - band, self._unsure_below / 2)
        probability = self._probabilities()[self._label]
        doubted = probability < too_little if self._confident else probability >= enough
        if not doubted:
            self._doubted_since = None
            return
        if self._doubted_since is None:
            self._doubted_since = now
        if now - self._doubted_since >= self._settings.dwell_seconds:
            self._confident, self._doubted_since = not self._confident, None


@dataclass
class _Track:
    """Follow one face; its number is 0 until it is shown."""

    detection: Detection
    seen_at: float
    missed_since: float | None = None
    number: int = 0
    readings: dict[str, SmoothedPrediction] = field(default_factory=dict)


class Tracker:
    """Give each face of one camera a number that stays, and steady readings."""

    def __init__(self, keep_seconds: float) -> None:
        """Start without faces.

        A face that frames lack for longer than `keep_seconds` has left, and gets a new number
        when it comes back.
        """
        self.smoothing_seconds = SMOOTHING_SECONDS
        self._keep_seconds = keep_seconds
        self._matching = MatchingSettings()
        self._tracks: list[_Track] = []
        self._next_number = 1

    def places(self, now: float) -> list[Detection]:
        """Return where each face that hasn't left was seen last."""
        self._end_tracks(now)
        return [track.detection for track in self._tracks]

    def update(self, faces: Sequence[FaceReading], now: float) -> tuple[TrackedFace, ...]:
        """Take the faces read in the newest frame; return them with their numbers.

        Faces missed for a moment are among them at their last place. `now` is in seconds and
        never runs back.
        """
        self._end_tracks(now)
        places = [track.detection.box for track in self._tracks]
        boxes = [face.detection.box for face in faces]
        known = match_boxes(places, boxes, self._matching)
        tracks = list(self._tracks)
        for index, face in enumerate(faces):
            track = tracks[known[index]] if index in known else self._begin_track(face, now)
            track.detection, track.seen_at, track.missed_since = face.detection, now, None
            if index in known or face.detection.score >= self._matching.sure_score:
                self._give_number(track)
            self._steady(track, face.predictions, now)
        self._note_missed(now)
        return tuple(self._answers(now))

    def rescale(self, factor: float) -> None:
        """Go on in frames whose sides have `factor` times as many pixels."""
        for track in self._tracks:
            box = track.detection.box.scaled(factor)
            track.detection = replace(track.detection, box=box)

    def forget(self) -> None:
        """Forget all faces; their numbers are not given again."""
        self._tracks = []

    def forget_readings(self) -> None:
        """Read every face anew, as answers of other models can't be averaged with the last ones."""
        for track in self._tracks:
            track.readings.clear()

    def _note_missed(self, now: float) -> None:
        """Note which faces the newest frame is the first to lack.

        However far apart frames come, nobody has left while no frame was without them.
        """
        for track in self._tracks:
            if track.seen_at < now and track.missed_since is None:
                track.missed_since = now

    def _end_tracks(self, now: float) -> None:
        self._tracks = [
            track
            for track in self._tracks
            if track.missed_since is None or now - track.missed_since <= self._keep_seconds
        ]

    def _begin_track(self, face: FaceReading, now: float) -> _Track:
        track = _Track(face.detection, now)
        self._tracks.append(track)
        return track

    def _give_number(self, track: _Track) -> None:
        if not track.number:
            track.number = self._next_number
            self._next_number += 1

    def _steady(self, track: _Track, predictions: Mapping[str, Prediction], now: float) -> None:
        for task, prediction in predictions.items():
            if task in track.readings:
                track.readings[task].update(prediction, self.smoothing_seconds, now)
            else:
                track.readings[task] = SmoothedPrediction(prediction, now)

    def _answers(self, now: float) -> Iterable[TrackedFace]:
        for track in self._tracks:
            if track.number and now - track.seen_at <= self._matching.hold_seconds:
                predictions = {task: r.prediction() for task, r in track.readings.items()}
                yield TrackedFace(
                    track.detection, predictions, track.number, detected=track.seen_at == now
                )


def match_boxes(
    places: Sequence[Box], boxes: Sequence[Box], settings: MatchingSettings
) -> dict[int, int]:
    """Find for each box the last place of the same face: box's index to place's index.

    The most overlapping pair first, then the nearest of those left. Taking the best pair first
    differs from the optimal assignment (Kuhn's "Hungarian method", 1955) only where faces are
    within a face's width of each other, and the optimum is then no surer to be right; SciPy
    would weigh more than the rest of the server.
    """
    pairs = [(p, b) for p in range(len(places)) for b in range(len(boxes))]
    overlapping = [
        (-overlap, p, b)
        for p, b in pairs
        if (overlap := float(iou(places[p].corners, boxes[b].corners))) >= settings.least_overlap
    ]
    near = [
        (distance, p, b)
        for p, b in pairs
        if (distance := _distance(places[p], boxes[b])) <= settings.farthest_sides
        and _size_factor(places[p], boxes[b]) <= settings.size_factor
    ]
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for _, place, box in sorted(overlapping) + sorted(near):
        if place not in taken and box not in matched:
            matched[box] = place
            taken.add(place)
    return matched


def _distance(one: Box, other: Box) -> float:
    across = (one.x + one.width / 2) - (other.x + other.width / 2)
    down = (one.y + one.height / 2) - (other.y + other.height / 2)
    return math.hypot(across, down) / max(one.width, other.width)


def _size_factor(one: Box, other: Box) -> float:
    """Return how many times one is as wide as the other, at least 1."""
    return max(one.width, other.width) / max(1, min(one.width, other.width))


def _log_probabilities(prediction: Prediction) -> np.ndarray:
    """Return the logarithms of the probabilities, float64 (classes,)."""
    values = np.array(list(prediction.probabilities.values()))
    return np.log(np.maximum(values, LEAST_PROBABILITY))
