"""Time each stage of our own reading alone, beside what this machine could do at best.

The best is what can't be done without: one decoding by libjpeg-turbo at the coarsest scale that is
looked at; one pass over the pixels at the bandwidth of a copy; the integral images of what the
cascade searches; and the networks' multiply-adds at the rate of a large product of matrices in
single precision, which networks of 8 bits may overtake.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from threadpoolctl import threadpool_limits

from app.vision.detection.detector import Effort, PassResult
from app.vision.imaging.crops import cut_from_photo
from app.vision.imaging.decoding import LazyImage, open_image
from app.vision.models.selection import choose_names
from app.vision.pipeline import FaceAnalyzer
from bench.environments import ROOT
from bench.timing import pinned, repeat, summarize

MATRIX_SIDE = 1024
COPIED_BYTES = 64_000_000  # beyond any processor's cache
EFFORT: Effort = "balanced"

Stage = tuple[dict[str, float], float]  # our milliseconds, and the best ones


@dataclass(frozen=True)
class Machine:
    """Hold what one core does at best."""

    multiply_adds: float  # a millisecond
    bytes_copied: float  # a millisecond, read and written

    def to_json(self) -> dict[str, float]:
        """Return the rates in billions a second."""
        return {
            "multiply_adds_billions_a_second": self.multiply_adds / 1e6,
            "gigabytes_a_second": self.bytes_copied / 1e6,
        }


def load_face_reader() -> FaceAnalyzer:
    """Load what reads faces, and no other model."""
    return FaceAnalyzer.load(ROOT / "models", needed=partial(choose_names, names=None))


def measure_machine(rounds: int) -> Machine:
    """Measure a core's peak; this process is to be pinned to it."""
    matrix = np.ones((MATRIX_SIDE, MATRIX_SIDE), np.float32)
    source = np.ones(COPIED_BYTES, np.uint8)
    target = source.copy()
    # A second thread of the product would only fight for the core.
    with threadpool_limits(1):
        product = repeat(lambda: matrix @ matrix, rounds)["median"]
    copying = repeat(partial(np.copyto, target, source), rounds)["median"]
    return Machine(MATRIX_SIDE**3 / product, 2 * COPIED_BYTES / copying)


def measure_stages(pictures: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Time each stage for each picture, in this process and on one core."""
    with pinned():
        machine = measure_machine(rounds)
        analyzer = load_face_reader()
        figures = {
            picture.stem: _describe(_time_picture(analyzer, picture.read_bytes(), machine, rounds))
            for picture in pictures
        }
    return {"machine": machine.to_json(), "pictures": figures}


def _describe(stages: dict[str, Stage]) -> dict[str, Any]:
    return {
        name: {**ours, "best": best, "share": best / ours["median"]}
        for name, (ours, best) in stages.items()
    }


def _time_picture(
    analyzer: FaceAnalyzer, data: bytes, machine: Machine, rounds: int
) -> dict[str, Stage]:
    stages = {"decode": _time_decoding(analyzer, data, rounds)}
    photo = _open(analyzer, data)
    passes_of_rounds: list[list[PassResult]] = []
    for _ in range(rounds + 1):
        passes_of_rounds.append([])
        # What a first round decodes, the next ones have: their copies are copies only.
        found = analyzer.detector.detect(photo, EFFORT, passes_of_rounds[-1])
    passes = passes_of_rounds[-1]
    copies = _list_copies(photo, passes)
    face_classifier = analyzer.detector.face_classifier.card.figures["speed"]["multiply_adds"]
    proposed = sum(len(search_pass.proposals) for search_pass in passes)
    stages["copy"] = (
        _sum_passes(passes_of_rounds, lambda search_pass: search_pass.copying_ms),
        (_count_decoded(photo, copies) + sum(map(math.prod, copies.values())))
        / machine.bytes_copied,
    )
    stages["cascade"] = (
        _sum_passes(passes_of_rounds, lambda search_pass: search_pass.searching_ms),
        sum(_time_integrals(copies[search_pass.scale], rounds) for search_pass in passes),
    )
    stages["face_classifier"] = (
        _sum_passes(passes_of_rounds, lambda search_pass: search_pass.verifying_ms),
        proposed * face_classifier / machine.multiply_adds,
    )
    for name, classifier in analyzer.classifiers.items():
        shape = classifier.card.shape

        def cut(shape: Any = shape) -> np.ndarray:
            return np.stack([cut_from_photo(photo, face, shape) for face in found])

        if found:
            crops = cut()
            cost = classifier.card.figures["speed"]["multiply_adds"]
            stages[f"crops for {name}"] = (repeat(cut, rounds), crops.nbytes / machine.bytes_copied)
            stages[name] = (
                repeat(partial(classifier.predict, crops), rounds),
                len(found) * cost / machine.multiply_adds,
            )
    return stages


def _time_decoding(analyzer: FaceAnalyzer, data: bytes, rounds: int) -> Stage:
    """Time all decodings that a reading does, and the coarsest of them by the library alone."""
    photo = _open(analyzer, data)
    detections = analyzer.detector.detect(photo, EFFORT)
    for classifier in analyzer.classifiers.values():
        for face in detections:
            cut_from_photo(photo, face, classifier.card.shape)
    scales = photo.decoded_scales

    def decode() -> None:
        opened = open_image(data)
        for scale in scales:
            opened.pixels(scale)

    height, width = photo.pixels(scales[0])[0].shape[:2]
    best = partial(simplejpeg.decode_jpeg, data, "RGB", min_width=width, min_height=height)
    return repeat(decode, rounds), repeat(best, rounds)["median"]


def _open(analyzer: FaceAnalyzer, data: bytes) -> LazyImage:
    photo = open_image(data)
    photo.pixels(analyzer.detector.first_scale(photo, EFFORT))
    return photo


def _list_copies(photo: LazyImage, passes: list[PassResult]) -> dict[float, tuple[int, int]]:
    """List the heights and widths of all grey copies by their scale.

    Each look searches one, and verifies on the next finer one.
    """
    scales = {
        scale
        for search_pass in passes
        for scale in (search_pass.scale, max(1.0, search_pass.scale / 2))
    }
    return {scale: (round(photo.height / scale), round(photo.width / scale)) for scale in scales}


def _count_decoded(photo: LazyImage, copies: dict[float, tuple[int, int]]) -> int:
    """Count the bytes of the decoded pixels that the copies are made of."""
    decoded = {found: pixels.nbytes for pixels, found in map(photo.pixels, copies)}
    return sum(decoded.values())


def _time_integrals(size: tuple[int, int], rounds: int) -> float:
    return repeat(partial(cv2.integral2, np.zeros(size, np.uint8)), rounds)["median"]


def _sum_passes(
    passes_of_rounds: list[list[PassResult]], take: Callable[[PassResult], float]
) -> dict[str, float]:
    """Sum something over the looks of each round but the first."""
    return summarize([sum(map(take, passes)) for passes in passes_of_rounds[1:]])
