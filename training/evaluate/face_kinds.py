"""Measure the recall of detectors by kind of face on hard-faces, and their false boxes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from app.intervals import wilson_interval
from app.markdown import markdown_table, percent
from app.vision.geometry import iou, overlap_over_min
from training.datasets.composites import RotatedBox
from training.datasets.hard_faces import KINDS, HardPhoto, darkened, drawn, read_hard_photos
from training.datasets.loading import read_picture
from training.evaluate.detection import MINIMUM_IOU, Detector, load_detectors, share_out
from training.evaluate.reports import write_sections, write_sheet
from training.runs import write_csv

SMALLEST = 20.0  # side in pixels from which a face has to be found
# A box that shares less than this of the smaller one with every labelled box is false.
TOUCHING = 0.3
# Of frontal faces, in changed photos. A drawn face isn't one that has to be found.
CHANGES = {"dark, made": darkened, "drawn, made": drawn}
TILE, TILES_PER_ROW = 96, 16


@dataclass(frozen=True)
class KindRow:
    """Hold a detector's recall of one kind of face, with its 95% interval (Wilson)."""

    detector: str
    kind: str
    faces: int
    recall: float
    low: float
    high: float


@dataclass(frozen=True)
class FalseRow:
    """Hold a detector's false boxes in a kind of photos, and its median time on one core."""

    detector: str
    photos: int
    with_faces: bool
    false_boxes: int
    milliseconds: float


@dataclass(frozen=True)
class PhotoResult:
    """Hold what a detector made of a photo.

    `found` has a list of kinds for each face, and whether it was found; `false_boxes` are those
    that touch no labelled box.
    """

    file: Path
    with_faces: bool
    found: tuple[tuple[tuple[str, ...], bool], ...]
    false_boxes: tuple[RotatedBox, ...]
    milliseconds: float


Named = tuple[str, PhotoResult]  # with the detector's name
Tables = tuple[list[KindRow], list[FalseRow]]


def judge_photo(photo: HardPhoto, detect: Detector, change: str | None = None) -> PhotoResult:
    """Run a detector on a photo, or on one of `CHANGES`, of which only frontal faces count."""
    pixels = read_picture(photo.file)
    if change:
        pixels = CHANGES[change](pixels, np.random.default_rng(len(photo.file.name)))
    started = time.process_time()
    boxes = [box for box, _ in detect(pixels)]
    milliseconds = (time.process_time() - started) * 1000
    corners = np.array([box.corners for box in boxes]).reshape(-1, 4)
    found = []
    for face in photo.faces:
        if not face.certain or face.box.side < SMALLEST:
            continue
        hit = bool((iou(face.box.corners, corners) >= MINIMUM_IOU).any())
        kinds = tuple(name for name, holds in KINDS.items() if holds(face))
        if change:
            kinds = (change,) if "frontal" in kinds else ()
        found.append((kinds, hit))
    labelled = np.array([face.box.corners for face in photo.faces]).reshape(-1, 4)
    touching = [(overlap_over_min(each, labelled) >= TOUCHING).any() for each in corners]
    false = tuple(box for box, touches in zip(boxes, touching, strict=True) if not touches)
    return PhotoResult(photo.file, bool(len(photo.faces)), tuple(found), false, milliseconds)


def evaluate_faces(data: Path, models: Path, out: Path | None, sheet: Path | None) -> Tables:
    """Measure plain Haar and every effort on hard-faces' validation photos, on all processors.

    Writes the tables to `out` and the false boxes of `balanced` to the PNG `sheet`. Raises
    `DataError` if the data is missing.
    """
    photos = read_hard_photos(data, "validation")
    results = share_out(partial(_measure_share, photos, models))
    kinds, false = summarize(results)
    if out:
        write_tables(kinds, false, out)
    if sheet:
        draw_false_boxes([each for name, each in results if name == "balanced"], sheet)
    return kinds, false


def _measure_share(photos: list[HardPhoto], models: Path, shares: int, share: int) -> list[Named]:
    return list(judge_photos(photos[share::shares], load_detectors(models)))


def judge_photos(photos: list[HardPhoto], detectors: dict[str, Detector]) -> Iterator[Named]:
    """Run each detector on each photo, and on the changed ones of those with frontal faces."""
    for photo in photos:
        frontal = any(face.certain and face.kind == "frontal" for face in photo.faces)
        for name, detect in detectors.items():
            for change in (None, *CHANGES) if frontal else (None,):
                yield name, judge_photo(photo, detect, change)


def summarize(results: list[Named]) -> Tables:
    """Return the recalls by detector and kind, and the false boxes by detector."""
    kind_rows, false_rows = [], []
    for name in dict.fromkeys(name for name, _ in results):
        mine = [result for detector, result in results if detector == name]
        faces = list(chain.from_iterable(result.found for result in mine))
        for kind in (*KINDS, *CHANGES):
            hits = [hit for kinds, hit in faces if kind in kinds]
            shares = (sum(hits) / max(1, len(hits)), *wilson_interval(sum(hits), len(hits)))
            kind_rows.append(KindRow(name, kind, len(hits), *(round(each, 4) for each in shares)))
        for with_faces in (True, False):
            chosen = [result for result in mine if result.with_faces == with_faces]
            count = sum(len(result.false_boxes) for result in chosen)
            times = float(np.median([result.milliseconds for result in chosen]))
            false_rows.append(FalseRow(name, len(chosen), with_faces, count, round(times, 1)))
    return kind_rows, false_rows


def write_tables(kinds: list[KindRow], false: list[FalseRow], out: Path) -> None:
    """Write kinds.csv, false-boxes.csv and a README.md with both tables."""
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "kinds.csv", [asdict(row) for row in kinds])
    write_csv(out / "false-boxes.csv", [asdict(row) for row in false])
    detectors = list(dict.fromkeys(row.detector for row in kinds))
    table: dict[str, list[object]] = {}
    for row in kinds:
        cell = f"{percent(row.recall)} ({100 * row.low:.0f} to {100 * row.high:.0f})"
        table.setdefault(row.kind, [row.kind, row.faces]).append(cell)
    wrong: dict[bool, list[object]] = {}
    for counted in false:
        photos = "with faces" if counted.with_faces else "without faces"
        cell = f"{counted.false_boxes} / {counted.milliseconds:.1f} ms"
        wrong.setdefault(counted.with_faces, [photos, counted.photos]).append(cell)
    write_sections(
        out / "README.md",
        "# Faces found, by kind",
        f"Recall with 95% intervals (Wilson) on the validation photos of hard-faces; faces of "
        f"{SMALLEST:.0f} pixels and more. The kind `cut` has at least half of its square in the "
        "photo, `small` has 20 to 32 pixels, `dark` a mean grey below 45; the frontal faces of "
        "`dark, made` are in photos with a twelfth of the light, and noise. Those of `drawn, made` "
        "are in pencil drawings of the photos: what is found there is no face.",
        markdown_table(table.values(), ["kind", "faces", *detectors]),
        "False boxes, which touch neither a face nor an uncertain box, and median milliseconds "
        "on one core. Changed photos count once more.",
        markdown_table(wrong.values(), ["photos", "count", *detectors]),
        "Generated by `python -m training evaluate-faces DIR`; do not edit.",
    )


def draw_false_boxes(results: list[PhotoResult], path: Path) -> None:
    """Draw the crops of false boxes, with some of what is around them, into a PNG."""
    tiles = []
    for result in results:
        pixels = cv2.cvtColor(read_picture(result.file), cv2.COLOR_RGB2BGR)
        for box in result.false_boxes:
            side = round(2 * box.side)  # twice the box's, so that one sees what it is
            tile = cv2.getRectSubPix(pixels, (side, side), (box.x, box.y))
            tiles.append(cv2.resize(tile, (TILE, TILE)))
    write_sheet(tiles, TILES_PER_ROW, path)
