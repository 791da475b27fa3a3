"""Time each stage of the pipeline alone, beside the optimum of this machine.

The optimum is the work that can't be avoided: decoding once by libjpeg-turbo at the coarsest scale
used; reading and writing the pixels at memory bandwidth; the integral images of what the cascade
searches; and the networks' multiply-adds at the rate of a large matrix product in single precision,
which quantized networks may exceed.
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
from app.vision.models.classifiers import Classifier
from app.vision.models.selection import choose_names
from app.vision.pipeline import FaceAnalyzer
from bench import ROOT
from bench.timing import Summary, pinned, repeat, summarize

MATRIX_SIDE = 1024
COPIED_BYTES = 64_000_000  # beyond any processor's cache
EFFORT: Effort = "balanced"

Stage = tuple[Summary, float]  # our milliseconds, and those of the optimum


@dataclass(frozen=True)
class Machine:
    """Hold the peak rates of one core, a millisecond."""

    multiply_adds: float
    bytes_copied: float  # read and written

    def to_json(self) -> dict[str, float]:
        """Return the rates in billions a second."""
        return {
            "multiply_adds_billions_a_second": self.multiply_adds / 1e6,
            "gigabytes_a_second": self.bytes_copied / 1e6,
        }


def load_face_reader() -> FaceAnalyzer:
    """Load the models that read faces, and no other."""
    return FaceAnalyzer.load(ROOT / "models", needed=partial(choose_names, names=None))


def measure_machine(rounds: int) -> Machine:
    """Measure the peak of the core that this process is pinned to."""
    matrix = np.ones((MATRIX_SIDE, MATRIX_SIDE), np.float32)
    source = np.ones(COPIED_BYTES, np.uint8)
    target = source.copy()
    with threadpool_limits(1):  # A second thread would compete for the core.
        product = repeat(lambda: matrix @ matrix, rounds)["median"]
    copying = repeat(partial(np.copyto, target, source), rounds)["median"]
    return Machine(MATRIX_SIDE**3 / product, 2 * COPIED_BYTES / copying)


def measure_stages(pictures: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Time each stage for each photo, in this process and on one core."""
    with pinned():
        machine = measure_machine(rounds)
        analyzer = load_face_reader()
        figures = {
            picture.stem: {
                name: {**ours, "best": best, "share": best / ours["median"]}
                for name, (ours, best) in _time_stages(
                    analyzer, picture.read_bytes(), machine, rounds
                ).items()
            }
            for picture in pictures
        }
    return {"machine": machine.to_json(), "pictures": figures}


def _time_stages(
    analyzer: FaceAnalyzer, data: bytes, machine: Machine, rounds: int
) -> dict[str, Stage]:
    photo = _open(analyzer, data)
    results: list[list[PassResult]] = []
    for _ in range(rounds + 1):
        results.append([])
        # The first round decodes; in the later ones making a working copy is copying only.
        found = analyzer.detector.detect(photo, EFFORT, results[-1])
    passes = results[-1]
    # Each pass searches one copy, and runs the face classifier on the next finer one.
    scales = {scale for each in passes for scale in (each.scale, max(1.0, each.scale / 2))}
    copies = {s: (round(photo.height / s), round(photo.width / s)) for s in scales}
    decoded = {scale: pixels.nbytes for pixels, scale in map(photo.pixels, copies)}
    copied = sum(decoded.values()) + sum(map(math.prod, copies.values()))
    proposed = sum(len(each.proposals) for each in passes)

    def total(milliseconds: Callable[[PassResult], float]) -> Summary:
        return summarize([sum(map(milliseconds, each)) for each in results[1:]])

    def integrate(scale: float) -> float:
        copy = np.zeros(copies[scale], np.uint8)
        return repeat(partial(cv2.integral2, copy), rounds)["median"]

    def compute(count: int, network: Any) -> float:
        cost: float = network.card.figures["speed"]["multiply_adds"]
        return count * cost / machine.multiply_adds

    stages: dict[str, Stage] = {
        "decode": _time_decoding(analyzer, data, rounds),
        "working copy": (total(lambda each: each.stages_ms[0]), copied / machine.bytes_copied),
        "cascade": (
            total(lambda each: each.stages_ms[1]),
            sum(integrate(each.scale) for each in passes),
        ),
        "face classifier": (
            total(lambda each: each.stages_ms[2]),
            compute(proposed, analyzer.detector.face_refiner),
        ),
    }
    for name, classifier in analyzer.classifiers.items() if found else ():
        cut = partial(_cut, photo, found, classifier)
        crops = cut()
        predict = partial(classifier.predict, crops)
        stages[f"crops for {name}"] = repeat(cut, rounds), crops.nbytes / machine.bytes_copied
        stages[name] = repeat(predict, rounds), compute(len(found), classifier)
    return stages


def _cut(photo: LazyImage, faces: Sequence[Any], classifier: Classifier) -> np.ndarray:
    return np.stack([cut_from_photo(photo, face, classifier.card.shape) for face in faces])


def _time_decoding(analyzer: FaceAnalyzer, data: bytes, rounds: int) -> Stage:
    photo = _open(analyzer, data)
    if detections := analyzer.detector.detect(photo, EFFORT):
        for classifier in analyzer.classifiers.values():
            _cut(photo, detections, classifier)
    scales = photo.decoded_scales

    def decode() -> None:
        opened = open_image(data)
        for scale in scales:
            opened.pixels(scale)

    height, width = photo.pixels(scales[0])[0].shape[:2]
    best = partial(simplejpeg.decode_jpeg, data, "RGB", min_width=width, min_height=height)
    return repeat(decode, rounds), repeat(best, rounds)["median"]


def _open(analyzer: FaceAnalyzer, data: bytes) -> LazyImage:
    """Open a photo, decoded at the scale of the first search pass."""
    photo = open_image(data)
    photo.pixels(analyzer.detector.first_scale(photo, EFFORT))
    return photo
