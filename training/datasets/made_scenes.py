"""Make pictures with faces in known boxes: pasted ones, and photos of hard-faces changed.

Faces are turned, cut by the border, covered by made things, blurred, darkened and compressed, and
each says why it can't be read.
"""

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from app.vision.geometry import iou
from training.datasets import Random
from training.datasets.composites import (
    PHOTO_BOX,
    UTKFACE_BOX,
    RelativeBox,
    RotatedBox,
    Sources,
    degrade,
    paste_face,
    read_grey,
    sample_background,
)
from training.datasets.hard_faces import FACING, TURNED, HardPhoto
from training.datasets.head_rotation import rotate_head
from training.datasets.loading import UNKNOWN
from training.datasets.occluders import cover_face

MOST_FACES = 8  # of a crowd that are used in one sample
COPIES_OF_RARE = 6  # profiles are few
COVERED_SHARE = 0.25  # of the faces in photos that are covered
ROTATED_SHARE = 0.7  # of the aligned crops in composites
COVERED_ROTATED = 0.3  # of those
COPIES_OF_ROTATED = 2
NODDING_SHARE = 0.25  # of those: they look up or down instead of aside
ROTATED_AWAY = 55.0  # yaw from which a rotated head can't be read; real ones' yaw is told too small
BLURRED_SHARE = 0.2  # of the pictures
# Deviation of a Gaussian, or a third of a motion, over the side: blurred from, sharp up to.
BLURRED, SHARP = 0.05, 0.027
DEGRADE_BLUR = 1.6  # largest deviation in pixels that `degrade` blurs by


@dataclass(frozen=True)
class SeenFace:
    """Hold a face in a picture, and for each of `REASONS` 1, 0 or `UNKNOWN`."""

    box: RotatedBox
    reasons: tuple[float, ...]
    copies: int = 1  # of its crops: rare kinds have several
    coverable: bool = True  # by things that are drawn on a face seen from the front


def sample_composite(sources: Sources, generator: Random) -> tuple[np.ndarray, list[SeenFace]]:
    """Sample a picture of one to four faces at random sizes and rolls, half of them covered."""
    canvas = sample_background(sources.backgrounds, generator)
    faces: list[SeenFace] = []
    # A feathered square must not give a face away: other things are pasted in the same way.
    if generator.random() < 0.4:
        patch = sample_background(sources.backgrounds, generator)[:300, :300]
        where = _sample_position(canvas, True, generator)
        canvas = paste_face(canvas, patch, RelativeBox(0.5, 0.5, 0.9), where, 0.05)
    for _ in range(generator.choice((1, 2, 3, 4), p=(0.55, 0.2, 0.15, 0.1))):
        file, box = _sample_face(sources, generator)
        face = _sample_position(canvas, box.known, generator)
        if any(iou(face.corners, other.box.corners) > 0.02 for other in faces):
            continue
        crop = read_grey(file)
        if box == UTKFACE_BOX and generator.random() < ROTATED_SHARE:
            canvas, seen = _paste_rotated(canvas, crop, face, sources, generator)
        else:
            canvas = _paste_upright(canvas, crop, box, face, generator)
            seen = SeenFace(face, (0.0, 0.0, 0.0, 0.0))
        faces.append(seen)
    return _spoil(canvas, faces, 0.5, sources, generator)


def _paste_upright(
    canvas: np.ndarray, crop: np.ndarray, box: RelativeBox, face: RotatedBox, generator: Random
) -> np.ndarray:
    feather = generator.choice((0.0, 0.03, 0.1))
    if box.side > 1:
        room = crop.shape[0] // 8  # the box is larger than the crop
        crop = cv2.copyMakeBorder(crop, *(room,) * 4, cv2.BORDER_REPLICATE)
        grown = crop.shape[0] / (crop.shape[0] - 2 * room)
        x, y = (0.5 + (each - 0.5) / grown for each in (box.x, box.y))
        box = RelativeBox(x, y, box.side / grown)
    return paste_face(canvas, crop, box, face, feather)


def _paste_rotated(
    canvas: np.ndarray, crop: np.ndarray, face: RotatedBox, sources: Sources, generator: Random
) -> tuple[np.ndarray, SeenFace]:
    """Paste the face of an aligned crop as a profile, or looking up or down; a third covered."""
    side = crop.shape[0]
    x, y, length = (share * side for share in astuple(UTKFACE_BOX)[:3])
    frontal = RotatedBox(x, y, length, 0.0)
    lower = eyes = 0.0
    if generator.random() < COVERED_ROTATED:
        texture = sample_background(sources.backgrounds, generator)
        crop, lower, eyes = cover_face(crop, frontal, texture, generator)
    yaw, pitch = generator.uniform(35, 105), generator.normal(0, 12)
    if generator.random() < NODDING_SHARE:
        yaw = abs(generator.normal(0, 20))
        pitch = generator.uniform(20, 50) * generator.choice((-1, 1))
    head = rotate_head(crop, frontal, yaw * generator.choice((-1, 1)), pitch, generator)
    face = replace(face, known=head.box.known)
    pasted = paste_face(canvas, head.picture, head.box, face, coverage=head.coverage)
    turned = 1.0 if yaw >= ROTATED_AWAY else UNKNOWN
    copies = COPIES_OF_ROTATED if turned == 1 else 1
    return pasted, SeenFace(face, (lower, eyes, turned, 0.0), copies, coverable=False)


def _sample_face(sources: Sources, generator: Random) -> tuple[Path, RelativeBox]:
    photos = sum(box == PHOTO_BOX for _, box in sources.faces[:1000])
    if generator.random() < 0.35:
        return sources.faces[generator.integers(photos)]
    return sources.faces[generator.integers(photos, len(sources.faces))]


def _sample_position(canvas: np.ndarray, known: bool, generator: Random) -> RotatedBox:
    height, width = canvas.shape
    side = math.exp(generator.uniform(math.log(18), math.log(0.9 * height)))
    x, y = (
        generator.uniform(0.03, 0.97) * length
        if generator.random() < 0.1
        else generator.uniform(min(side / 2, length / 2), max(length - side / 2, length / 2))
        for length in (width, height)
    )
    roll = generator.normal(0, 15) if generator.random() < 0.5 else generator.uniform(-180, 180)
    return RotatedBox(x, y, side, roll, known)


def sample_photo(
    photo: HardPhoto, sources: Sources, generator: Random
) -> tuple[np.ndarray, list[SeenFace], list[RotatedBox]]:
    """Change a photo at random; return it, its faces, and the boxes that are neither."""
    picture = read_grey(photo.file)
    turn = 0.0
    if (chance := generator.random()) < 0.5:
        turn = generator.normal(0, 20) if chance < 0.35 else generator.uniform(-180, 180)
    # Narrowed heads look further turned, and other.
    narrow = generator.uniform(0.75, 1.1) if generator.random() < 0.3 else 1.0
    scale, mirrored = generator.uniform(0.6, 1.0), generator.random() < 0.5
    picture, move = _change(picture, turn, scale, narrow, mirrored)
    faces: list[SeenFace] = []
    unsure: list[RotatedBox] = []
    for index in generator.permutation(len(photo.faces)):
        face = photo.faces[index]
        box = move(face.box)
        if face.certain and len(faces) < MOST_FACES and box.side >= 13:
            turned = 1.0 if face.yaw >= TURNED else 0.0 if face.yaw <= FACING else UNKNOWN
            reasons = (float(face.kind == "mask"), float(face.sunglasses), turned, UNKNOWN)
            copies = COPIES_OF_RARE if face.yaw >= TURNED or face.sunglasses else 1
            faces.append(SeenFace(box, reasons, copies))
        else:
            unsure.append(box)
    if faces and generator.random() < 0.12:
        picture, faces, unsure = _cut_border(picture, faces, unsure, generator)
    height, width = picture.shape
    within = [f for f in faces if 0 <= f.box.x < width and 0 <= f.box.y < height]
    unsure += [face.box for face in faces if face not in within]
    changed, spoilt = _spoil(picture, within, COVERED_SHARE, sources, generator)
    return changed, spoilt, unsure


def _change(
    picture: np.ndarray, turn: float, scale: float, narrow: float, mirrored: bool
) -> tuple[np.ndarray, Callable[[RotatedBox], RotatedBox]]:
    """Turn, shrink, narrow and mirror a picture; return it, and what moves the squares in it."""
    height = max(8, round(picture.shape[0] * scale))
    width = max(8, round(picture.shape[1] * scale * narrow))
    smaller = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -turn, 1.0)
    turned = cv2.warpAffine(smaller, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)

    def move(face: RotatedBox) -> RotatedBox:
        x, y = matrix[:, :2] @ (face.x * scale * narrow, face.y * scale) + matrix[:, 2]
        roll = face.roll_degrees + turn
        if mirrored:
            x, roll = width - 1 - x, -roll
        side = face.side * scale * math.sqrt(narrow)
        return RotatedBox(x, y, side, (roll + 180) % 360 - 180, face.known)

    return np.ascontiguousarray(turned[:, ::-1]) if mirrored else turned, move


def _cut_border(
    picture: np.ndarray, faces: list[SeenFace], unsure: list[RotatedBox], generator: Random
) -> tuple[np.ndarray, list[SeenFace], list[RotatedBox]]:
    """Cut the picture through a face, so that half of it or more is left."""
    face = faces[generator.integers(len(faces))].box
    left_over = face.side / 2 - generator.uniform(0.05, 0.45) * face.side
    height, width = picture.shape
    border = generator.integers(4)
    left = max(0, round(face.x - left_over)) if border == 0 else 0
    right = min(width, round(face.x + left_over)) if border == 1 else width
    top = max(0, round(face.y - left_over)) if border == 2 else 0
    bottom = min(height, round(face.y + left_over)) if border == 3 else height
    if right - left < 24 or bottom - top < 24:
        return picture, faces, unsure
    shifted = [replace(f, box=_shift(f.box, left, top)) for f in faces]
    cut = np.ascontiguousarray(picture[top:bottom, left:right])
    return cut, shifted, [_shift(box, left, top) for box in unsure]


def _shift(box: RotatedBox, left: int, top: int) -> RotatedBox:
    return replace(box, x=box.x - left, y=box.y - top)


def _spoil(
    picture: np.ndarray, faces: list[SeenFace], covered: float, sources: Sources, generator: Random
) -> tuple[np.ndarray, list[SeenFace]]:
    """Cover a share of the faces, blur some pictures, and degrade; the reasons follow."""
    spoilt = []
    texture = None
    for face in faces:
        lower, eyes, turned, blurred = face.reasons
        if generator.random() < covered and lower != 1 and face.coverable:
            if texture is None:
                texture = sample_background(sources.backgrounds, generator)
            picture, mouth_now, eyes_now = cover_face(picture, face.box, texture, generator)
            lower, eyes = _worse(lower, mouth_now), _worse(eyes, eyes_now)
        spoilt.append(replace(face, reasons=(lower, eyes, turned, blurred)))
    strength = 0.0  # as a deviation, in pixels
    if spoilt and generator.random() < BLURRED_SHARE:
        strength = generator.uniform(0.02, 0.09) * spoilt[0].box.side
        if generator.random() < 0.5:
            picture = cv2.GaussianBlur(picture, (0, 0), strength)
        else:
            picture = _blur_by_motion(picture, 3 * strength, generator.uniform(0, 180))
    for index, face in enumerate(spoilt):
        share = strength / face.box.side
        blurred = face.reasons[3]
        if share >= BLURRED:
            blurred = 1.0
        elif (strength and share > SHARP / 2) or DEGRADE_BLUR / face.box.side > SHARP:
            blurred = UNKNOWN
        spoilt[index] = replace(face, reasons=(*face.reasons[:3], blurred))
    return degrade(picture, generator), spoilt


def _worse(before: float, now: float) -> float:
    return 1.0 if 1.0 in (before, now) else UNKNOWN if UNKNOWN in (before, now) else 0.0


def _blur_by_motion(picture: np.ndarray, length: float, degrees: float) -> np.ndarray:
    size = max(3, round(length) | 1)
    line = np.zeros((size, size), np.float32)
    line[size // 2] = 1
    turn = cv2.getRotationMatrix2D((size // 2, size // 2), degrees, 1.0)
    kernel = cv2.warpAffine(line, turn, (size, size))
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()))
