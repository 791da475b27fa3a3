"""Find faces: the cascade's first stages and a network propose, and another one classifies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from app.vision.budget import Budget
from app.vision.detection.face_classifier import PROMISING, Candidates, FaceClassifier
from app.vision.detection.network_proposer import SMALLEST, NetworkProposer
from app.vision.detection.proposals import WINDOW, CascadeProposer
from app.vision.geometry import nms
from app.vision.imaging.decoding import LazyImage
from app.vision.models.files import Runtime
from app.vision.readings import Detection

Effort = Literal["fast", "balanced", "thorough"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)
# Who proposes: the cascade and the network, or the cascade alone as in the papers.
DetectorName = Literal["combined", "haar"]
DETECTORS: tuple[DetectorName, ...] = get_args(DetectorName)
DEFAULT_DETECTOR: DetectorName = "combined"
# Halvings of a level: the first pass is for all sizes, a finer one only adds the smaller faces.
ALL_OCTAVES = 6
FINEST_LEVELS = 2  # the octave from which a level has millions of places
TILE, TILE_OVERLAP = 640, 64  # pixels of a pyramid level
# Pixels of the finest level searched: all of a 12 megapixel photo. A finer level of a larger one
# would take four times as long, for faces of 14 of its pixels.
MOST_SEARCHED = 4096 * 3072
# A side's ratio to the other, and how often the copy of such a photo without a face so far is
# doubled: its faces are small beside its longest side.
PANORAMA, OCTAVES_OF_PANORAMA = 2.5, 4
# Folders among the models.
PROPOSER, FACE_REFINER, FACE_CLASSIFIER = "proposer", "face_refiner", "face_classifier"
DETECTOR_FOLDERS = (PROPOSER, FACE_REFINER, FACE_CLASSIFIER)


@dataclass(frozen=True)
class SearchPass:
    """Describe one pass over a photo.

    `rotation` is that of the faces to find, in degrees clockwise; `octave` how often the side of
    the working copy is doubled; `equalized` whether its contrast is equalized first.
    """

    rotation: float = 0.0
    octave: int = 0
    equalized: bool = False


UPRIGHT = SearchPass()
EQUALIZED = SearchPass(equalized=True)
# The passes over a photo without a face so far, likelier rotations first. The cascade's first
# stages accept faces within 15 degrees of the pass's own rotation.
ROTATED = tuple(SearchPass(degrees) for degrees in (25.0, -25.0, 50.0, -50.0))
LYING = tuple(SearchPass(degrees) for degrees in (90.0, -90.0, 180.0, 135.0, -135.0))
MORE_PASSES: dict[Effort, tuple[SearchPass, ...]] = {
    "fast": (),
    "balanced": (EQUALIZED, *ROTATED),
    "thorough": (EQUALIZED, *ROTATED, *LYING),
}


@dataclass(frozen=True)
class DetectionSettings:
    """Set the parameters of the search, with the reason for each value."""

    # Longest side of the working copy, in pixels: its smallest face is a twentieth of the photo,
    # for the cascade alone a tenth.
    working_side: int = 256
    # Proposals of the cascade classified in a tile at most, best supported first; a photo has 30.
    most_proposals: int = 64
    # Proposals of the network classified in a tile at most, best first; a crowd has 100 faces.
    most_squares: int = 192
    # Proposals classified in a pass at most: bounds the time for an image full of small faces.
    max_candidates_per_pass: int = 1024
    # Refiner's score from which a proposal is refined and classified.
    promising: float = PROMISING
    # Score from which a proposal is a face, and the same where few are: in rotated passes, at the
    # finest levels, with a side below `small` pixels in the photo, or `rotated` by more degrees.
    accepted: float = 0.8
    accepted_rare: float = 0.93
    small: int = 20
    rotated: float = 40.0
    # Largest difference between a face's rotation and its pass's, in degrees: beyond it another
    # pass finds the face better.
    rotation_tolerance: float = 45.0
    # Mean grey level below which contrast is equalized; in brighter photos that only finds more
    # cats' faces.
    dark: int = 70
    # Score from which a face of the last frame is still there.
    still_there: float = 0.7
    # Faces analyzed at most, best scores first: bounds the cost of the classifiers.
    max_faces: int = 200
    # Photo's pixels for each of the working copy's above which a photo is searched at the next
    # octave in any case: a photo of 640 pixels isn't.
    large: float = 2.6
    # The next octave is searched if a face is smaller than this many times the smallest that the
    # last pass could find. At 2, six faces in 1280 x 800 took 1.3 times the time, and no more of
    # them were found.
    finer: float = 1.5


@dataclass(frozen=True)
class PassResult:
    """Hold the result of one pass.

    `image` is the grey pyramid level searched (of several tiles the last), upright, with `scale`
    of the photo's pixels for each of its own. In its pixels, `windows`, float32 (count, 3), are
    left, top and side of what passed the cascade, and `squares`, float32 (count, 5), what the
    network proposed; `proposals` are both and `faces` those accepted, in the photo's pixels.
    `stages_ms` are the milliseconds of computing the pyramid, of proposing and of the face
    classifier.
    """

    search_pass: SearchPass
    image: np.ndarray
    scale: float
    windows: np.ndarray
    squares: np.ndarray
    proposals: Candidates
    faces: Candidates
    stages_ms: tuple[float, float, float]

    @property
    def milliseconds(self) -> float:
        """Return the time of the whole pass."""
        return sum(self.stages_ms)


class FaceDetector:
    """Find faces at any rotation."""

    def __init__(
        self,
        face_refiner: FaceClassifier,
        face_classifier: FaceClassifier,
        settings: DetectionSettings | None = None,
        cascade: CascadeProposer | None = None,
        network: NetworkProposer | None = None,
        name: DetectorName = "combined",
    ) -> None:
        """Join the parts; without `network`, or by the name `haar`, the cascade proposes alone."""
        self.settings = settings or DetectionSettings()
        self.face_refiner = face_refiner
        self.face_classifier = face_classifier
        self.network = network if name == "combined" else None
        self._name, self._loaded = name, network
        self._cascade = cascade or CascadeProposer()

    @classmethod
    def load(cls, models: Path, runtime: Runtime = "auto", threads: int = 1) -> FaceDetector:
        """Load the face classifier and the proposer among the models. Raises `ModelError`."""
        # One photo is one thread's work: OpenCV's own threads would only compete with others.
        cv2.setNumThreads(1)
        return cls(
            FaceClassifier.load(models / FACE_REFINER, runtime, threads),
            FaceClassifier.load(models / FACE_CLASSIFIER, runtime, threads),
            network=NetworkProposer.load(models / PROPOSER, runtime, threads),
            name=DEFAULT_DETECTOR,
        )

    def adjusted(self, **changes: float) -> FaceDetector:
        """Return a detector with some settings changed, and the same network and cascade."""
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        parts = (self._cascade, self._loaded, self._name)
        return FaceDetector(self.face_refiner, self.face_classifier, settings, *parts)

    def named(self, name: DetectorName) -> FaceDetector:
        """Return a detector of the same parts by another of `DETECTORS`."""
        parts = (self._cascade, self._loaded, name)
        return FaceDetector(self.face_refiner, self.face_classifier, self.settings, *parts)

    def detect(
        self,
        image: np.ndarray | LazyImage,
        effort: Effort = "balanced",
        passes: list[PassResult] | None = None,
        budget: Budget | None = None,
    ) -> list[Detection]:
        """Find the faces in a photo.

        `image` is RGB uint8 (height, width, 3), or a photo that is decoded no further than
        needed. Returns detections in its pixels, sorted from left to right, none overlapping
        another by more than the settings allow. The result of each pass is appended to `passes`.
        Raises `RautError` for a truncated photo, and as the budget does.
        """
        passes = [] if passes is None else passes
        photo = image if isinstance(image, LazyImage) else LazyImage.of(image)
        pyramid = _Pyramid(photo, self.settings.working_side, budget)
        found = self._run_pass(pyramid, UPRIGHT, passes)
        for octave in range(1, pyramid.finest_octave() + 1):
            if not self._needs_octave(pyramid, octave, effort, found, passes):
                break
            finer = self._run_pass(pyramid, SearchPass(octave=octave), passes)
            found = Candidates.join([found, finer]).suppress()
        for search_pass in MORE_PASSES[effort]:
            if len(found) and effort != "thorough":
                break
            if search_pass.equalized and not pyramid.level(0)[0].mean() < self.settings.dark:
                continue
            more = self._run_pass(pyramid, search_pass, passes)
            found = Candidates.join([found, more]).suppress()
        return sorted(found.to_detections(), key=lambda face: (face.box.x, face.box.y))

    def keep_best(self, faces: list[Detection]) -> list[Detection]:
        """Return the faces to be analyzed, in their order: those with the best scores."""
        if len(faces) <= self.settings.max_faces:
            return faces
        least = sorted(face.score for face in faces)[-self.settings.max_faces]
        return [face for face in faces if face.score >= least][: self.settings.max_faces]

    def first_scale(self, photo: LazyImage, effort: Effort) -> float:
        """Return the coarsest scale at which a photo has to be decoded, whatever is found."""
        pyramid = _Pyramid(photo, self.settings.working_side)
        octave = 0
        if effort == "thorough":
            octave = pyramid.finest_octave()
        elif effort == "balanced" and self._is_large(pyramid):
            octave = 1
        return pyramid.scale(octave + 1)

    def detect_near(self, image: np.ndarray, previous: list[Detection]) -> list[Detection | None]:
        """Find each face near its last position; None where it is lost.

        `image` is RGB uint8 (height, width, 3), the frame after the one of `previous`. Runs only
        the face classifier: about a millisecond for a face.
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
        squares = np.repeat(last, len(steps), axis=0)
        squares[:, :2] += np.tile(steps, (len(last), 1)) * squares[:, 2:3]
        refined = self.face_refiner.classify(grey, squares)
        best = refined.scores.reshape(len(last), -1).argmax(axis=1)
        chosen = refined.squares[best + np.arange(len(last)) * len(steps)]
        found = self.face_classifier.classify(grey, chosen, mirrored=True).to_detections()
        return [face if face.score >= self.settings.still_there else None for face in found]

    def _run_pass(
        self, pyramid: _Pyramid, search_pass: SearchPass, passes: list[PassResult]
    ) -> Candidates:
        """Search a photo once, and append the result to the passes."""
        pyramid.level(search_pass.octave + 1)  # on which the proposals are classified
        level, scale = pyramid.level(search_pass.octave)
        if search_pass.equalized:
            level = equalize(level)
        pyramid_ms = pyramid.lap()
        searched, windows, of_cascade = self._propose_cascade(pyramid, search_pass, level, scale)
        squares, of_network = self._propose_network(pyramid, search_pass, level, scale)
        if search_pass.rotation and passes:
            # The network proposes any face, but its roll is only right for those nearly upright.
            upright = passes[0].squares[:, :4] * np.array((*(passes[0].scale,) * 3, 0), np.float32)
            of_network = upright + np.array((0, 0, 0, search_pass.rotation), np.float32)
        proposed_ms = pyramid.lap()
        both = np.concatenate([of_network, of_cascade])
        proposals, faces = self._classify(pyramid, search_pass, both)
        times = (pyramid_ms, proposed_ms, pyramid.lap())
        passes.append(
            PassResult(search_pass, searched, scale, windows, squares, proposals, faces, times)
        )
        return faces

    def _propose_cascade(
        self, pyramid: _Pyramid, search_pass: SearchPass, level: np.ndarray, scale: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the cascade: the picture searched, its windows, and squares in the photo's pixels.

        Beside the network's run it takes a copy of half the size, where it costs a quarter.
        """
        octaves = 1 if search_pass.octave else ALL_OCTAVES
        image, larger = level, scale
        windows = np.zeros((0, 3), np.float32)
        found = [np.zeros((0, 4), np.float32)]
        beside = self.network is not None and not search_pass.rotation
        if beside:
            if search_pass.octave:
                return level, windows, found[0]
            image, larger = pyramid.level(-1)
            image = equalize(image) if search_pass.equalized else image
        for left, top, tile in pyramid.budget.over(_cut_tiles(image)):
            searched, windows, squares = self._cascade.propose(tile, octaves, search_pass.rotation)
            squares = squares[: self.settings.most_proposals] + np.array((left, top, 0, 0))
            found.append(squares)
        supported = np.concatenate(found)
        best = np.argsort(-supported[:, 3], kind="stable")[: self.settings.max_candidates_per_pass]
        rolls = np.full((len(best), 1), search_pass.rotation)
        squares = np.hstack([supported[best, :3] * larger, rolls]).astype(np.float32)
        if beside:
            return level, windows * (larger / scale), squares
        return searched, windows, squares

    def _propose_network(
        self, pyramid: _Pyramid, search_pass: SearchPass, level: np.ndarray, scale: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the network: squares (count, 5) in the level's pixels, (count, 4) in the photo's."""
        found = [np.zeros((0, 5), np.float32)]
        if self.network and not search_pass.rotation:
            octaves = 1 if search_pass.octave else ALL_OCTAVES
            for left, top, tile in pyramid.budget.over(_cut_tiles(level)):
                squares = self.network.propose(tile, octaves)[: self.settings.most_squares]
                found.append(squares + np.array((left, top, 0, 0, 0), np.float32))
        scored = np.concatenate(found)
        best = np.argsort(-scored[:, 4], kind="stable")[: self.settings.max_candidates_per_pass]
        squares = scored[best]
        return squares, squares[:, :4] * np.array((scale, scale, scale, 1), np.float32)

    def _classify(
        self, pyramid: _Pyramid, search_pass: SearchPass, squares: np.ndarray
    ) -> tuple[Candidates, Candidates]:
        """Score proposals, and return them and the faces among them, refined twice."""
        # Crops are cut from the next finer level, where the smallest face has at least the
        # network's input size.
        grey, scale = pyramid.level(search_pass.octave + 1)
        if search_pass.equalized:
            grey = equalize(grey)
        unit = np.array([scale, scale, scale, 1], np.float32)
        first, left = self.face_refiner.refine(grey, squares / unit, self.settings.promising)
        final = self.face_classifier.decide(grey, left.squares)
        # A face rotated otherwise than its pass is found better by another pass.
        off = (final.squares[:, 3] - search_pass.rotation + 180) % 360 - 180
        expected = (abs(off) <= self.settings.rotation_tolerance) | (search_pass.rotation == 0)
        rare = (
            (search_pass.rotation != 0)
            | (search_pass.octave >= FINEST_LEVELS)
            | (final.squares[:, 2] * scale < self.settings.small)
            | (abs(off) > self.settings.rotated)
        )
        limit = np.where(rare, self.settings.accepted_rare, self.settings.accepted)
        faces = final.take((final.scores >= limit) & expected).suppress()
        located = Candidates(faces.squares * unit, faces.scores, faces.reasons)
        return Candidates(squares, first.scores), located

    def _needs_octave(
        self,
        pyramid: _Pyramid,
        octave: int,
        effort: Effort,
        found: Candidates,
        passes: list[PassResult],
    ) -> bool:
        """Decide whether a pass at an octave, four times as costly as the last, may pay."""
        if effort != "balanced":
            return effort == "thorough"
        if octave == 1:
            # A large photo has room for people further away, an empty one for nobody else.
            if not len(found) or self._is_large(pyramid):
                return True
            last = found
        elif not len(found):
            # All faces of a large photo may be too small for the passes so far.
            finest = OCTAVES_OF_PANORAMA if pyramid.is_panorama else 2
            return octave <= finest and self._is_large(pyramid)
        else:
            last = passes[-1].faces if len(passes[-1].faces) else found
        side = SMALLEST if self.network else WINDOW
        smallest = side * pyramid.scale(octave - 1)
        return bool((last.squares[:, 2] < self.settings.finer * smallest).any())

    def _is_large(self, pyramid: _Pyramid) -> bool:
        return pyramid.scale(0) > self.settings.large


class _Pyramid:
    """Compute a photo's grey levels, each twice as fine as the one before, each once."""

    def __init__(self, photo: LazyImage, working_side: int, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self._since = time.perf_counter()
        self._photo = photo
        self._working_side = working_side
        self._greys: dict[int, np.ndarray] = {}
        self._levels: dict[int, tuple[np.ndarray, float]] = {}

    def lap(self) -> float:
        """Return the milliseconds since the last call, or since construction."""
        before, self._since = self._since, time.perf_counter()
        return (self._since - before) * 1000

    def scale(self, octave: int) -> float:
        """Return the photo's pixels for each of the level's; 1 for the photo itself."""
        longest = max(self._photo.width, self._photo.height)
        return max(1.0, longest / (self._working_side * 2**octave))

    @property
    def is_panorama(self) -> bool:
        """Return whether one side is much longer than the other."""
        sides = (self._photo.width, self._photo.height)
        return max(sides) > PANORAMA * min(sides)

    def finest_octave(self) -> int:
        """Return the octave whose level has the photo's own size, or is the largest allowed."""
        octave = 0
        while self.scale(octave) > 1 and self._count_pixels(octave + 1) <= MOST_SEARCHED:
            octave += 1
        return octave

    def _count_pixels(self, octave: int) -> float:
        return self._photo.width * self._photo.height / self.scale(octave) ** 2

    def level(self, octave: int) -> tuple[np.ndarray, float]:
        """Return a grey level, uint8 (height, width), and its scale, while there is time."""
        self.budget.check()
        if octave not in self._levels:
            scale = self.scale(octave)
            finer, _ = self._levels.get(octave + 1, (None, 0.0))
            level = self._grey(scale) if finer is None else finer
            if scale > 1:
                sides = (self._photo.width, self._photo.height)
                width, height = (max(1, round(side / scale)) for side in sides)
                level = shrink(level, width, height)
            self._levels[octave] = (level, scale)
        return self._levels[octave]

    def _grey(self, scale: float) -> np.ndarray:
        pixels, decoded = self._photo.pixels(scale)
        if decoded not in self._greys:
            self._greys[decoded] = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        return self._greys[decoded]


def _cut_tiles(level: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield left, top and pixels of tiles, which bound the proposals and memory of each search.

    They overlap by more than the largest face of a finer pass.
    """
    height, width = level.shape
    for top in range(0, max(1, height - TILE_OVERLAP), TILE - TILE_OVERLAP):
        for left in range(0, max(1, width - TILE_OVERLAP), TILE - TILE_OVERLAP):
            yield left, top, level[top : top + TILE, left : left + TILE]


def suppress_overlaps(detections: list[Detection], overlap: float) -> list[Detection]:
    """Return what non-maximum suppression keeps of detections, best score first.

    Two overlap where they share more than `overlap` of the smaller one's area.
    """
    boxes = np.array([detection.box.corners for detection in detections]).reshape(-1, 4)
    scores = np.array([detection.score for detection in detections])
    return [detections[index] for index in nms(boxes, scores, overlap)]


def shrink(grey: np.ndarray, width: int, height: int) -> np.ndarray:
    """Shrink an image: by halves first, whose means are fast, then by less than a half.

    Area interpolation at other ratios takes ten times as long in OpenCV.
    """
    while grey.shape[1] >= 2 * width and grey.shape[0] >= 2 * height:
        half = (grey.shape[1] // 2, grey.shape[0] // 2)
        grey = cv2.resize(grey, half, interpolation=cv2.INTER_AREA)
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR)


def equalize(grey: np.ndarray) -> np.ndarray:
    """Equalize the contrast of a grey image locally (CLAHE).

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization" (1994).
    """
    return cv2.createCLAHE(clipLimit=4.0, tileGridSize=(4, 4)).apply(grey)
