from pathlib import Path

import cv2
import numpy as np
import pytest

from app.vision.geometry import Box
from app.vision.models.visibility import find_reasons
from app.vision.pipeline import FaceAnalyzer
from app.vision.readings import Detection, FaceReading, Prediction
from tests.helpers.cards import rewrite_card
from tests.helpers.forms import ASTRONAUT

LIMITS = {"tiny": 40, "dark": 60, "blurred": 0.2, "turned": 60}


@pytest.fixture
def analyzer(models: Path) -> FaceAnalyzer:
    rewrite_card(models / "expression", visibility=LIMITS)
    return FaceAnalyzer.load(models)


def read(analyzer: FaceAnalyzer, photo: np.ndarray) -> tuple[Prediction, Prediction]:
    (face,) = analyzer.analyze(photo).faces
    return face.predictions["expression"], face.predictions["gender"]


def test_a_face_in_good_light_is_read(analyzer: FaceAnalyzer) -> None:
    expression, _ = read(analyzer, ASTRONAUT)
    assert expression.reason is None
    assert "reason" not in expression.to_json()


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("dark", lambda photo: (photo * 0.12).astype(np.uint8)),
        ("blurred", lambda photo: cv2.GaussianBlur(photo, (0, 0), 5)),
        ("tiny", lambda photo: cv2.resize(photo, (180, 180), interpolation=cv2.INTER_AREA)),
    ],
)
def test_a_hardly_seen_face_is_not_read(analyzer: FaceAnalyzer, reason: str, spoil: object) -> None:
    assert callable(spoil)
    expression, gender = read(analyzer, spoil(ASTRONAUT))
    assert (expression.confident, expression.reason) == (False, reason)
    assert expression.to_json()["reason"] == reason
    assert gender.reason is None  # its card names no limits


def test_what_the_detector_saw_comes_first(analyzer: FaceAnalyzer) -> None:
    limits = analyzer.classifiers["expression"].card.visibility
    assert limits
    faces = [
        Detection(box=Box(0, 0, 20, 20), score=1, reasons={"blurred": 0.9, "covered_lower": 0.7}),
        Detection(box=Box(0, 0, 20, 20), score=1),
        Detection(box=Box(0, 0, 90, 90), score=1, roll_degrees=-75),
    ]
    crops = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 1), np.uint8)
    assert find_reasons(limits, crops, faces) == ["covered", "tiny", "turned"]
    assert "reasons" not in FaceReading(**dict(faces[0])).to_json()
