"""Find faces: the cascade's first stages and a network propose, and another one classifies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

from app.vision.budget import Budget
from app.vision.detection.face_classifier import PROMISING, Candidates, FaceClassifier
from app.vision.detection.network_proposer import SMALLEST, NetworkProposer
from app.vision.detection.proposals import WINDOW, CascadeProposer
from app.vision.detection.pyramid import Pyramid, cut_tiles, equalize
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
FINEST_LEVELS = 2  # the octave from which a level has millions of positions
# How often the copy of a panorama without a face so far is doubled: its faces are small beside its
# longest side.
OCTAVES_OF_PANORAMA = 4
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
    most_network_boxes: int = 192
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
    left, top and side of what passed the cascade, and `network_boxes`, float32 (count, 5), what the
    network proposed; `proposals` are both and `faces` those accepted, in the photo's pixels.
    `stages_ms` are the milliseconds of computing the pyramid, of proposing and of the face
    classifier.
    """

    search_pass: SearchPass
    image: np.ndarray
    scale: float
    windows: np.ndarray
    network_boxes: np.ndarray
    proposals: Candidates
    faces: Candidates
    stages_ms: tuple[float, float, float]

    @property
    def milliseconds(self) -> float:
        """Return the time of the whole pass."""
        return sum(self.stages_ms)


@dataclass(frozen=True, eq=False)
class FaceDetector:
    """Find faces at any rotation; the one named `haar` has the cascade alone propose."""

    face_refiner: FaceClassifier
    face_classifier: FaceClassifier
    proposer: NetworkProposer
    cascade: CascadeProposer = field(default_factory=CascadeProposer)
    name: DetectorName = DEFAULT_DETECTOR
    settings: DetectionSettings = DetectionSettings()

    @classmethod
    def load(cls, models: Path, runtime: Runtime = "auto", threads: int = 1) -> FaceDetector:
        """Load the face classifier and the proposer among the models. Raises `ModelError`."""
        # One photo is one thread's work: OpenCV's own threads would only compete with others.
        cv2.setNumThreads(1)
        return cls(
            FaceClassifier.load(models / FACE_REFINER, runtime, threads),
            FaceClassifier.load(models / FACE_CLASSIFIER, runtime, threads),
            NetworkProposer.load(models / PROPOSER, runtime, threads),
        )

    @property
    def network(self) -> NetworkProposer | None:
        """Return the network that proposes; None where the cascade does alone."""
        return self.proposer if self.name == "combined" else None

    def adjusted(self, **changes: float) -> FaceDetector:
        """Return a detector with some settings changed, and the same network and cascade."""
        settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        return replace(self, settings=settings)

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
        pyramid = Pyramid(photo, self.settings.working_side, budget)
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
        pyramid = Pyramid(photo, self.settings.working_side)
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
        boxes = np.repeat(last, len(steps), axis=0)
        boxes[:, :2] += np.tile(steps, (len(last), 1)) * boxes[:, 2:3]
        refined = self.face_refiner.classify(grey, boxes)
        best = refined.scores.reshape(len(last), -1).argmax(axis=1)
        chosen = refined.boxes[best + np.arange(len(last)) * len(steps)]
        found = self.face_classifier.classify(grey, chosen, mirrored=True).to_detections()
        return [face if face.score >= self.settings.still_there else None for face in found]

    def _run_pass(
        self, pyramid: Pyramid, search_pass: SearchPass, passes: list[PassResult]
    ) -> Candidates:
        """Search a photo once, and append the result to the passes."""
        pyramid.level(search_pass.octave + 1)  # on which the proposals are classified
        level, scale = pyramid.level(search_pass.octave)
        if search_pass.equalized:
            level = equalize(level)
        pyramid_ms = pyramid.lap()
        searched, windows, of_cascade = self._propose_cascade(pyramid, search_pass, level, scale)
        boxes, of_network = self._propose_network(pyramid, search_pass, level, scale)
        if search_pass.rotation and passes:
            # The network proposes any face, but its roll is only right for those nearly upright.
            first = passes[0]
            upright = first.network_boxes[:, :4] * np.array((*[first.scale] * 3, 0), np.float32)
            of_network = upright + np.array((0, 0, 0, search_pass.rotation), np.float32)
        proposed_ms = pyramid.lap()
        both = np.concatenate([of_network, of_cascade])
        proposals, faces = self._classify(pyramid, search_pass, both)
        times = (pyramid_ms, proposed_ms, pyramid.lap())
        passes.append(
            PassResult(search_pass, searched, scale, windows, boxes, proposals, faces, times)
        )
        return faces

    def _propose_cascade(
        self, pyramid: Pyramid, search_pass: SearchPass, level: np.ndarray, scale: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Run the cascade: the picture searched, its windows, and boxes in the photo's pixels.

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
        for left, top, tile in pyramid.budget.over(cut_tiles(image)):
            searched, windows, boxes = self.cascade.propose(tile, octaves, search_pass.rotation)
            boxes = boxes[: self.settings.most_proposals] + np.array((left, top, 0, 0))
            found.append(boxes)
        supported = self._join_best(found)
        rolls = np.full((len(supported), 1), search_pass.rotation)
        boxes = np.hstack([supported[:, :3] * larger, rolls]).astype(np.float32)
        if beside:
            return level, windows * (larger / scale), boxes
        return searched, windows, boxes

    def _propose_network(
        self, pyramid: Pyramid, search_pass: SearchPass, level: np.ndarray, scale: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run the network: boxes (count, 5) in the level's pixels, (count, 4) in the photo's."""
        found = [np.zeros((0, 5), np.float32)]
        if self.network and not search_pass.rotation:
            octaves = 1 if search_pass.octave else ALL_OCTAVES
            for left, top, tile in pyramid.budget.over(cut_tiles(level)):
                boxes = self.network.propose(tile, octaves)[: self.settings.most_network_boxes]
                found.append(boxes + np.array((left, top, 0, 0, 0), np.float32))
        boxes = self._join_best(found)
        return boxes, boxes[:, :4] * np.array((scale, scale, scale, 1), np.float32)

    def _join_best(self, found: list[np.ndarray]) -> np.ndarray:
        """Concatenate proposals, whose last column is their score, and keep the best of a pass."""
        scored = np.concatenate(found)
        best = np.argsort(-scored[:, -1], kind="stable")
        return scored[best[: self.settings.max_candidates_per_pass]]

    def _classify(
        self, pyramid: Pyramid, search_pass: SearchPass, boxes: np.ndarray
    ) -> tuple[Candidates, Candidates]:
        """Score proposals, and return them and the faces among them, refined twice."""
        # Crops are cut from the next finer level, where the smallest face has at least the
        # network's input size.
        grey, scale = pyramid.level(search_pass.octave + 1)
        if search_pass.equalized:
            grey = equalize(grey)
        unit = np.array([scale, scale, scale, 1], np.float32)
        first, left = self.face_refiner.refine(grey, boxes / unit, self.settings.promising)
        final = self.face_classifier.decide(grey, left.boxes)
        # A face rotated otherwise than its pass is found better by another pass.
        off = (final.boxes[:, 3] - search_pass.rotation + 180) % 360 - 180
        expected = (abs(off) <= self.settings.rotation_tolerance) | (search_pass.rotation == 0)
        rare = (
            (search_pass.rotation != 0)
            | (search_pass.octave >= FINEST_LEVELS)
            | (final.boxes[:, 2] * scale < self.settings.small)
            | (abs(off) > self.settings.rotated)
        )
        limit = np.where(rare, self.settings.accepted_rare, self.settings.accepted)
        faces = final.take((final.scores >= limit) & expected).suppress()
        located = Candidates(faces.boxes * unit, faces.scores, faces.reasons)
        return Candidates(boxes, first.scores), located

    def _needs_octave(
        self,
        pyramid: Pyramid,
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
        return bool((last.boxes[:, 2] < self.settings.finer * smallest).any())

    def _is_large(self, pyramid: Pyramid) -> bool:
        return pyramid.scale(0) > self.settings.large
