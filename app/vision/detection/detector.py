"""Find faces in several passes: a cascade proposes squares, and a face classifier decides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from app.vision.detection.face_classifier import Candidates, FaceClassifier
from app.vision.detection.proposals import WINDOW, CascadeProposer
from app.vision.geometry import nms, square_corners
from app.vision.imaging.decoding import LazyImage
from app.vision.models.classifiers import Runtime
from app.vision.readings import Detection

Effort = Literal["fast", "balanced", "thorough"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)
TILE, OVERLAP = 640, 64  # pixels of a copy
FACE_CLASSIFIER = "face_classifier"  # the face classifier's folder among the models


@dataclass(frozen=True)
class SearchPass:
    """Describe one pass of the search.

    `turn` is the turn of the faces looked for, in degrees clockwise; `octave` how often the
    working copy's side is doubled; `equalized` whether its contrast is equalized first.
    """

    turn: float = 0.0
    octave: int = 0
    equalized: bool = False


UPRIGHT = SearchPass()
# Passes after an upright one that found no face, the likelier rolls first. The cascade's first
# stages accept faces rolled by up to 15 degrees from the pass's own turn.
TURNED = (SearchPass(25.0), SearchPass(-25.0), SearchPass(50.0), SearchPass(-50.0))
LYING = (
    SearchPass(90.0),
    SearchPass(-90.0),
    SearchPass(180.0),
    SearchPass(135.0),
    SearchPass(-135.0),
)
EQUALIZED = SearchPass(equalized=True)
MORE_PASSES: dict[Effort, tuple[SearchPass, ...]] = {
    "fast": (),
    "balanced": (EQUALIZED, *TURNED),
    "thorough": (EQUALIZED, *TURNED, *LYING),
}


@dataclass(frozen=True)
class DetectionSettings:
    """Set how faces are searched, with the reason for each value."""

    # Longest side of the first copy, in pixels: its smallest face is a tenth of the photo. On
    # validation photos a side of 320 found no more, in 1.6 times the time.
    working_side: int = 256
    # Proposals verified in a pass or tile at most, the best supported first; a photo has 30.
    most_proposals: int = 64
    # Proposals verified in a pass at most: a picture full of small faces must end, too.
    max_candidates_per_pass: int = 1024
    # Score of a proposal that is worth a second question.
    promising: float = 0.1
    # Score from which a face is one. More passes are more chances to err, so they must be surer.
    # Were it 0.97 for turned passes, half of the false boxes would go, and 1 to 2% of turned faces.
    accepted: float = 0.8
    accepted_more_passes: float = 0.9
    # Degrees by which a face found in a turned pass may be turned otherwise: the passes are 25
    # apart, and single rolls err by 4.
    turn_tolerance: float = 22.0
    # Mean grey level under which contrast is equalized; in brighter photos it only finds more
    # cats' faces.
    dark: int = 70
    # Score from which a face known from the last frame is still there.
    still_there: float = 0.7
    # Share of the smaller of two squares that may lie in the other before the weaker one goes.
    overlap: float = 0.4
    # Faces answered at most, the surest first: what one request may cost the classifiers.
    max_faces: int = 64
    # Downscaling of the first copy above which a photo is searched at a finer scale anyway: one of
    # 640 pixels isn't.
    large: float = 2.6
    # A face smaller than so many times the smallest that a pass finds triggers a finer pass. At 2,
    # six faces in 1280 x 800 took 1.3 times the time and no more of them were found.
    finer: float = 1.5


@dataclass(frozen=True)
class PassResult:
    """Hold the result of one pass.

    `copy` is the grey picture searched (of several tiles the last), with `scale` of the photo's
    pixels for each of its own;
    `windows` float32 (count, 3) the left, top and side of what passed the cascade, in its pixels;
    `proposals` the merged windows and `faces` what was found among them, both in the photo's.
    The milliseconds are those of making the copy, of the cascade and of the face classifier.
    """

    search_pass: SearchPass
    copy: np.ndarray
    scale: float
    windows: np.ndarray
    proposals: Candidates
    faces: Candidates
    copying_ms: float
    searching_ms: float
    verifying_ms: float

    @property
    def milliseconds(self) -> float:
        """Return the time of the whole pass."""
        return self.copying_ms + self.searching_ms + self.verifying_ms


class FaceDetector:
    """Find faces at any turn."""

    def __init__(
        self,
        face_classifier: FaceClassifier,
        settings: DetectionSettings | None = None,
        proposer: CascadeProposer | None = None,
    ) -> None:
        self.settings = settings or DetectionSettings()
        self.face_classifier = face_classifier
        self._proposer = proposer or CascadeProposer()

    @classmethod
    def load(cls, models: Path, runtime: Runtime = "auto", threads: int = 1) -> FaceDetector:
        """Load the face classifier among the models. Raises `ModelError`."""
        # One photo is one thread's work: OpenCV's own threads would only take turns with others.
        cv2.setNumThreads(1)
        return cls(FaceClassifier.load(models / FACE_CLASSIFIER, runtime, threads))

    def adjusted(self, **changes: float) -> FaceDetector:
        """Return a detector with some settings changed, and the same networks and cascade."""
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        return FaceDetector(self.face_classifier, settings, self._proposer)

    def detect(
        self,
        image: np.ndarray | LazyImage,
        effort: Effort = "balanced",
        passes: list[PassResult] | None = None,
    ) -> list[Detection]:
        """Find the faces in a photo.

        `image` is RGB uint8 (height, width, 3), or a photo that is decoded as far as it is
        searched. Returns detections in its pixels, sorted from left to right, none overlapping
        another by more than the settings allow. What each pass came to is added to `looks`.
        Raises `RautError` for a photo that breaks off.
        """
        passes = [] if passes is None else passes
        photo = image if isinstance(image, LazyImage) else LazyImage.of(image)
        pyramid = _Pyramid(photo, self.settings.working_side)
        found = self._search(pyramid, UPRIGHT, passes)
        for octave in range(1, self._finest_octave(pyramid) + 1):
            if not self._wants_finer(pyramid, octave, effort, found, passes):
                break
            found = self._merge([found, self._search(pyramid, SearchPass(octave=octave), passes)])
        for search_pass in MORE_PASSES[effort]:
            if len(found) and effort != "thorough":
                break
            if search_pass.equalized and not pyramid.is_dark(self.settings.dark):
                continue
            found = self._merge([found, self._search(pyramid, search_pass, passes)])
        kept = found.take(np.argsort(-found.scores)[: self.settings.max_faces])
        return sorted(kept.to_detections(), key=lambda face: (face.box.x, face.box.y))

    def first_scale(self, photo: LazyImage, effort: Effort) -> float:
        """Return the coarsest scale at which a photo has to be decoded, whatever is found."""
        pyramid = _Pyramid(photo, self.settings.working_side)
        octave = 0
        if effort == "thorough":
            octave = self._finest_octave(pyramid)
        elif effort == "balanced" and self._is_large(pyramid):
            octave = 1
        return pyramid.copy_scale(octave + 1)

    def detect_near(self, image: np.ndarray, previous: list[Detection]) -> list[Detection | None]:
        """Find each face again near its last place; None where it is lost.

        `image` is RGB uint8 (height, width, 3), the frame after the one that `previous` was
        found in. Runs the face classifier only: about a millisecond for a face.
        """
        if not previous:
            return []
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        last = np.array(
            [
                (f.box.x + f.box.width / 2, f.box.y + f.box.height / 2, f.box.width, f.roll_degrees)
                for f in previous
            ],
            np.float32,
        )
        steps = np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)], np.float32) * 0.25
        asked = np.repeat(last, len(steps), axis=0)
        asked[:, :2] += np.tile(steps, (len(last), 1)) * asked[:, 2:3]
        answers = self.face_classifier.verify(grey, asked)
        best = answers.scores.reshape(len(last), -1).argmax(axis=1)
        chosen = answers.take(best + np.arange(len(last)) * len(steps))
        found = self.face_classifier.verify(grey, chosen.places, mirrored=True).to_detections()
        return [face if face.score >= self.settings.still_there else None for face in found]

    def _search(
        self, pyramid: _Pyramid, search_pass: SearchPass, passes: list[PassResult]
    ) -> Candidates:
        """Look at a photo once, and add what it came to to the passes."""
        pyramid.copy(search_pass.octave + 1)  # what its proposals are verified on
        copy, scale = pyramid.copy(search_pass.octave)
        if search_pass.equalized:
            copy = equalize(copy)
        copying = pyramid.lap()
        # Only the first pass is for all sizes: a finer one adds the smaller faces.
        octaves = 1 if search_pass.octave else 6
        places = []
        for left, top, tile in _cut_tiles(copy):
            searched, windows, proposals = self._proposer.propose(tile, octaves, search_pass.turn)
            found = proposals[: self.settings.most_proposals]
            places.append((found + np.array((left, top, 0, 0))) * (scale, scale, scale, 1))
        supported = np.concatenate(places)
        best = np.argsort(-supported[:, 3], kind="stable")[: self.settings.max_candidates_per_pass]
        squares = supported[best, :3]
        searching = pyramid.lap()
        turns = np.full((len(squares), 1), search_pass.turn)
        verified, faces = self._verify(
            pyramid, search_pass, np.hstack([squares, turns]).astype(np.float32)
        )
        times = (copying, searching, pyramid.lap())
        passes.append(PassResult(search_pass, searched, scale, windows, verified, faces, *times))
        return faces

    def _verify(
        self, pyramid: _Pyramid, search_pass: SearchPass, places: np.ndarray
    ) -> tuple[Candidates, Candidates]:
        """Score proposals, and keep the faces among them, refined twice."""
        # Crops are cut from twice the copy that was searched, where the smallest face has the
        # network's own size or more.
        grey, scale = pyramid.copy(search_pass.octave + 1)
        if search_pass.equalized:
            grey = equalize(grey)
        unit = np.array([scale, scale, scale, 1], np.float32)
        first = self.face_classifier.verify(grey, places / unit)
        proposals = Candidates(places, first.scores)
        left = self._merge([first.take(first.scores >= self.settings.promising)])
        sure = search_pass in (UPRIGHT, EQUALIZED)
        limit = self.settings.accepted if sure else self.settings.accepted_more_passes
        refined = self.face_classifier.verify(grey, left.places)
        left = self._merge([refined.take(refined.scores >= self.settings.promising)])
        final = self.face_classifier.verify(grey, left.places, mirrored=True)
        # What a turned pass finds turned otherwise, another pass would have found better.
        off = (final.places[:, 3] - search_pass.turn + 180) % 360 - 180
        expected = (abs(off) <= self.settings.turn_tolerance) | (search_pass.turn == 0)
        faces = self._merge([final.take((final.scores >= limit) & expected)])
        return proposals, Candidates(faces.places * unit, faces.scores)

    def _merge(self, parts: list[Candidates]) -> Candidates:
        """Apply non-maximum suppression to all squares."""
        squares = Candidates.join(parts)
        return squares.take(
            nms(square_corners(squares.places), squares.scores, self.settings.overlap)
        )

    def _wants_finer(
        self,
        pyramid: _Pyramid,
        octave: int,
        effort: Effort,
        found: Candidates,
        passes: list[PassResult],
    ) -> bool:
        if effort != "balanced":
            return effort == "thorough"
        if octave == 1:
            # A large photo has room for people further away, an empty one for nobody else.
            if not len(found) or self._is_large(pyramid):
                return True
            last = found
        elif not len(found):
            # All faces of a large photo may be too small for both passes so far.
            return octave == 2 and self._is_large(pyramid)
        else:
            last = passes[-1].faces if len(passes[-1].faces) else found
        smallest = WINDOW * pyramid.copy_scale(octave - 1)
        return bool((last.places[:, 2] < self.settings.finer * smallest).any())

    def _is_large(self, pyramid: _Pyramid) -> bool:
        """Return whether a photo is searched at a finer scale whatever is found first."""
        return pyramid.copy_scale(0) > self.settings.large

    def _finest_octave(self, pyramid: _Pyramid) -> int:
        octave = 0
        while pyramid.copy_scale(octave) > 1:
            octave += 1
        return octave


class _Pyramid:
    """Give a photo's grey copies, each twice as fine as the one before, each made once."""

    def __init__(self, photo: LazyImage, working_side: int) -> None:
        self._since = time.perf_counter()
        self._photo = photo
        self._working_side = working_side
        self._greys: dict[int, np.ndarray] = {}
        self._copies: dict[int, tuple[np.ndarray, float]] = {}

    def lap(self) -> float:
        """Return the milliseconds since the last call, or since the photo came."""
        before, self._since = self._since, time.perf_counter()
        return (self._since - before) * 1000

    def is_dark(self, limit: int) -> bool:
        """Return whether the mean grey level is under a limit."""
        return bool(self.copy(0)[0].mean() < limit)

    def copy_scale(self, octave: int) -> float:
        """Return the photo's pixels for each of the copy's; 1 for the photo itself."""
        longest = max(self._photo.width, self._photo.height)
        return max(1.0, longest / (self._working_side * 2**octave))

    def copy(self, octave: int) -> tuple[np.ndarray, float]:
        """Return a grey copy and its scale."""
        if octave not in self._copies:
            scale = self.copy_scale(octave)
            finer, _ = self._copies.get(octave + 1, (None, 0.0))
            copy = self._grey(scale) if finer is None else finer
            if scale > 1:
                sides = (self._photo.width, self._photo.height)
                width, height = (max(1, round(side / scale)) for side in sides)
                copy = _shrink(copy, width, height)
            self._copies[octave] = (copy, scale)
        return self._copies[octave]

    def _grey(self, scale: float) -> np.ndarray:
        """Return the photo in grey, as it is decoded for a scale."""
        pixels, decoded = self._photo.pixels(scale)
        if decoded not in self._greys:
            self._greys[decoded] = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        return self._greys[decoded]


def _cut_tiles(copy: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Cut a copy into tiles that overlap by more than the largest face of a finer pass.

    Yields left, top and the tile. It bounds what one tile may propose, and the memory.
    """
    height, width = copy.shape
    for top in range(0, max(1, height - OVERLAP), TILE - OVERLAP):
        for left in range(0, max(1, width - OVERLAP), TILE - OVERLAP):
            yield left, top, copy[top : top + TILE, left : left + TILE]


def merge_overlapping(detections: list[Detection], overlap: float) -> list[Detection]:
    """Keep the surest of detections that overlap, the surest first.

    Two overlap when they share more than `overlap` of the smaller one's area.
    """
    boxes = np.array([detection.box.corners for detection in detections]).reshape(-1, 4)
    scores = np.array([detection.score for detection in detections])
    return [detections[index] for index in nms(boxes, scores, overlap)]


def _shrink(grey: np.ndarray, width: int, height: int) -> np.ndarray:
    """Shrink a picture: by halves first, whose means are fast, then by less than a half.

    Averaging over parts of pixels, as OpenCV does for other ratios, takes ten times as long.
    """
    while grey.shape[1] >= 2 * width and grey.shape[0] >= 2 * height:
        half = (grey.shape[1] // 2, grey.shape[0] // 2)
        grey = cv2.resize(grey, half, interpolation=cv2.INTER_AREA)
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR)


def equalize(grey: np.ndarray) -> np.ndarray:
    """Spread the grey levels of each part of a picture.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization" (1994).
    """
    return cv2.createCLAHE(clipLimit=4.0, tileGridSize=(4, 4)).apply(grey)
