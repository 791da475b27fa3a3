"""Find what hides a face from a model: too few pixels, too little light, blur, or a turned head."""

from collections.abc import Sequence

import cv2
import numpy as np

from app.vision.models.cards import VisibilityLimits
from app.vision.readings import Detection, Reason

# What the detector's reasons are called in a reading, the most telling first. Whether a face is too
# tiny, dark or blurred is up to each model's own limits: of 27 faces in whole photos that the
# detector called blurred, 26 expressions were read right.
SEEN: dict[str, Reason] = {
    "covered_lower": "covered",
    "covered_eyes": "covered",
    "turned": "turned",
}
FAIRLY_SURE = 0.5


def find_reasons(
    limits: VisibilityLimits, crops: np.ndarray, detections: Sequence[Detection]
) -> list[Reason | None]:
    """Say for each face why a model can't read it; None where nothing speaks against it.

    `crops` are the model's, uint8 (count, size, size, channels), of the faces in `detections`.
    """
    return [
        _find_reason(limits, measure_light(crop), measure_sharpness(crop), detection)
        for crop, detection in zip(crops, detections, strict=True)
    ]


def _find_reason(
    limits: VisibilityLimits, light: float, sharpness: float, detection: Detection
) -> Reason | None:
    for name, reason in SEEN.items():
        if detection.reasons.get(name, 0.0) >= FAIRLY_SURE:
            return reason
    if max(detection.box.width, detection.box.height) < limits.tiny:
        return "tiny"
    if light < limits.dark:
        return "dark"
    if sharpness < limits.blurred:
        return "blurred"
    return "turned" if abs(detection.roll_degrees) > limits.turned else None


def measure_light(crop: np.ndarray) -> float:
    """Return a crop's light, from 0 to 255: the grey level that a twentieth of it exceeds."""
    return float(np.percentile(_to_grey(crop), 95))


def measure_sharpness(crop: np.ndarray) -> float:
    """Return a crop's sharpness, which does not change with its light or contrast.

    It is the standard deviation of the Laplacian over that of the grey levels. Source: Pech-Pacheco
    et al., "Diatom autofocusing in brightfield microscopy" (2000), the variance of the Laplacian.
    """
    grey = _to_grey(crop).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std() / max(grey.std(), 1.0))


def _to_grey(crop: np.ndarray) -> np.ndarray:
    return crop[..., 0] if crop.shape[-1] == 1 else cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
