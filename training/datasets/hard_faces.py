"""Read the photos of hard-faces: faces with box, roll and kind, and boxes that are neither.

Its boxes are MTCNN's; the constants that bring them to the detector's square were measured on
upright frontal faces, as its README.md says. `REVIEWED` says of uncertain boxes in the training
part, looked at by one person, which are faces and which aren't; the others stay uncertain.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from training.datasets import Random
from training.datasets.composites import RotatedBox, read_grey
from training.recipe import DataError
from training.runs import read_csv

FOLDER = "hard-faces"
BOXES = "boxes.csv"
REVIEWED = Path(__file__).with_name("hard_faces_reviewed.csv")
DOWN = 0.013  # the square's centre lies this share of the box's height above the box's
EYES_APART = 2.41  # the square's side in eye distances
EYES_TO_MOUTH = 2.43  # the square's side in distances from the eyes' middle to the mouth's
AXIS_PARALLEL_ROLL = 20.0  # degrees beyond which an axis-parallel box tells no side
TURNED, FACING = 40.0, 20.0  # yaw from which a face is turned away, and up to which it isn't
DARK, LIGHT = 45.0, 75.0  # mean grey up to which a face is dark, and from which it isn't
SMALL = (20.0, 32.0)  # sides in pixels
MOST_CUT = 0.95  # visible share up to which a face counts as cut by the border
LEAST_SEEN = 0.5  # visible share from which a cut face has to be found


@dataclass(frozen=True)
class HardFace:
    """Hold a face, or with `certain` false a box that is used neither as face nor as none.

    `box` is the detector's square in the photo's pixels; `yaw` is in degrees without a sign;
    `seen` is the share of the square that lies in the photo; `grey` is its mean there.
    """

    box: RotatedBox
    certain: bool
    kind: str
    yaw: float
    sunglasses: bool
    seen: float
    grey: float


@dataclass(frozen=True)
class HardPhoto:
    """Hold a photo's file and the faces and uncertain boxes in it."""

    file: Path
    faces: tuple[HardFace, ...]


# The kinds that are measured; a face may be of several.
KINDS: dict[str, Callable[[HardFace], bool]] = {
    "masked": lambda face: face.kind == "mask",
    "profile": lambda face: face.kind == "profile",
    "sunglasses": lambda face: face.sunglasses,
    "cut": lambda face: LEAST_SEEN <= face.seen < MOST_CUT,
    "dark": lambda face: face.grey < DARK,
    "small": lambda face: SMALL[0] <= face.box.side < SMALL[1],
    "frontal": lambda face: face.kind == "frontal",
    "all": lambda face: True,
}


def read_hard_photos(data: Path, split: str) -> list[HardPhoto]:
    """List the photos of one split of DATA/hard-faces. Raises `DataError` if it is missing."""
    folder = data / FOLDER
    if not (folder / BOXES).is_file():
        raise DataError(f"There is no {folder / BOXES}.")
    reviewed = {(r["file"], r["x"], r["y"]): r["face"] == "1" for r in read_csv(REVIEWED)}
    rows: dict[str, list[dict[str, str]]] = {}
    for row in read_csv(folder / BOXES):
        is_face = reviewed.get((row["file"], row["x"], row["y"]))
        if is_face:
            row["uncertain"] = "0"
        if is_face is not False:
            rows.setdefault(row["file"], []).append(row)
    photos = []
    for file in sorted((folder / split).rglob("*.jpg")):
        of_file = rows.get(file.relative_to(folder).as_posix(), [])
        grey = read_grey(file) if of_file else np.zeros((1, 1), np.uint8)
        photos.append(HardPhoto(file, tuple(_read_face(row, grey) for row in of_file)))
    return photos


def _read_face(row: dict[str, str], grey: np.ndarray) -> HardFace:
    x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
    certain = row["uncertain"] == "0"
    roll = float(row["roll_degrees"] or 0) if certain else 0.0
    box = rotated_box(x, y, width, height, roll)
    if abs(roll) > AXIS_PARALLEL_ROLL:
        box = replace(box, side=_side_of_landmarks(row))
    left, top, right, bottom = box.corners.round().astype(int)
    inside = grey[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    return HardFace(
        box=box,
        certain=certain,
        kind=row["kind"],
        yaw=abs(float(row["yaw_degrees"] or 0)),
        sunglasses=row["sunglasses"] == "1",
        seen=inside.size / max(1, (right - left) * (bottom - top)),
        grey=float(inside.mean()) if inside.size else 0.0,
    )


def rotated_box(
    x: float, y: float, width: float, height: float, roll_degrees: float = 0.0
) -> RotatedBox:
    """Return the detector's square for an MTCNN box: left, top and sides in pixels."""
    up = math.radians(roll_degrees)
    return RotatedBox(
        x + width / 2 + DOWN * height * math.sin(up),
        y + height / 2 - DOWN * height * math.cos(up),
        math.sqrt(max(1.0, width * height)),
        roll_degrees,
    )


def _side_of_landmarks(row: dict[str, str]) -> float:
    def point(name: str) -> np.ndarray:
        return np.array([float(row[f"{name}_x"]), float(row[f"{name}_y"])])

    eyes = point("eye_picture_left"), point("eye_picture_right")
    mouth = point("mouth_picture_left"), point("mouth_picture_right")
    across = EYES_APART * np.linalg.norm(eyes[1] - eyes[0])
    down = EYES_TO_MOUTH * np.linalg.norm(sum(mouth) / 2 - sum(eyes) / 2)
    # Turning a head shortens only the eyes' distance, looking up or down only the other.
    return float(max(across, down))


def darkened(pixels: np.ndarray, generator: Random) -> np.ndarray:
    """Return a photo as a small sensor takes it in near-darkness: a twelfth of the light, noise.

    `pixels` is uint8 of any shape; so is the result, with a mean of about 25.
    """
    light = (pixels / 255.0) ** 2.2 / 12
    noisy = light + generator.standard_normal(pixels.shape) * 0.002
    return np.rint(255 * np.clip(noisy, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def drawn(pixels: np.ndarray, _: Random) -> np.ndarray:
    """Return a photo as a pencil drawing, its ratio to a blurred copy. Both are RGB uint8."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    blurred = cv2.GaussianBlur(grey, (0, 0), max(1.0, min(grey.shape) / 60))
    return cv2.cvtColor(cv2.divide(grey, blurred, scale=245), cv2.COLOR_GRAY2RGB)
