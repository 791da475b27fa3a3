import itertools
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from app.vision.detection.detector import EFFORTS, FaceDetector, PassResult
from app.vision.detection.face_classifier import REASON
from app.vision.detection.network_proposer import NetworkProposer
from app.vision.detection.pyramid import MOST_SEARCHED
from app.vision.geometry import Box
from app.vision.imaging.crops import CropShape, cut_crop
from app.vision.imaging.decoding import JPEG_SCALES, LazyImage
from app.vision.models.cards import ModelError, load_card
from app.vision.pipeline import FaceAnalyzer
from app.vision.readings import Detection
from tests.helpers.forms import ASTRONAUT

FACE = Box(177, 66, 95, 95)  # the astronaut's


@pytest.fixture(scope="module")
def detector(analyzer: FaceAnalyzer) -> FaceDetector:
    return analyzer.detector


@pytest.fixture(scope="module")
def head() -> np.ndarray:
    """The astronaut's head with a little around it: a face of 96 pixels in 160."""
    return ASTRONAUT[34:194, 145:305]


def turn(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Turn a picture clockwise about its middle, on a canvas that holds it at any turn."""
    height, width = picture.shape[:2]
    side = int(np.hypot(height, width))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    matrix[:, 2] += ((side - width) / 2, (side - height) / 2)
    return cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)


def paste(heads: list[tuple[np.ndarray, int, int]], height: int, width: int) -> np.ndarray:
    """Paste pictures into one of a cup, each at its left and top."""
    canvas = cv2.resize(skimage.data.coffee(), (width, height))
    for picture, left, top in heads:
        rows, columns = picture.shape[:2]
        canvas[top : top + rows, left : left + columns] = picture
    return canvas


def centre(face: Detection) -> tuple[float, float]:
    return face.box.x + face.box.width / 2, face.box.y + face.box.height / 2


def centre_of_turned(degrees: int, after: tuple[int, ...]) -> tuple[float, float]:
    """Return where the astronaut's face lies in a picture that was turned."""
    radians = np.radians(degrees)
    dx, dy = FACE.x + FACE.width / 2 - 256, FACE.y + FACE.height / 2 - 256
    return (
        after[1] / 2 + dx * np.cos(radians) - dy * np.sin(radians),
        after[0] / 2 + dx * np.sin(radians) + dy * np.cos(radians),
    )


@pytest.mark.parametrize("degrees", [-40, -20, 20, 40])
def test_a_turned_face_is_found_and_read_the_same(analyzer: FaceAnalyzer, degrees: int) -> None:
    (upright,) = analyzer.analyze(ASTRONAUT).faces
    (face,) = analyzer.analyze(turn(ASTRONAUT, degrees)).faces
    expected = upright.roll_degrees + degrees
    assert face.roll_degrees == pytest.approx(expected, abs=10)
    assert list(face.to_json())[:3] == ["box", "score", "roll_degrees"]
    for task, prediction in upright.predictions.items():
        assert face.predictions[task].label == prediction.label


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_thorough_finds_a_face_lying_or_upside_down(detector: FaceDetector, degrees: int) -> None:
    (upright,) = detector.detect(ASTRONAUT)
    (face,) = detector.detect(turn(ASTRONAUT, degrees), "thorough")
    turned = face.roll_degrees - upright.roll_degrees
    assert abs((turned - degrees + 180) % 360 - 180) < 15


def test_a_crop_without_turn_is_the_plain_square() -> None:
    crop = cut_crop(ASTRONAUT, Detection(box=FACE, score=1), CropShape(95, 3))
    assert np.array_equal(crop, ASTRONAUT[66:161, 177:272])


@pytest.mark.parametrize("degrees", [-130, -30, 15, 90])
def test_a_turned_face_is_cut_upright(degrees: int) -> None:
    shape = CropShape(48, 1)
    upright = cut_crop(ASTRONAUT, Detection(box=FACE, score=1), shape)
    turned = turn(ASTRONAUT, degrees)
    x, y = centre_of_turned(degrees, turned.shape)
    box = Box(round(x - 47.5), round(y - 47.5), 95, 95)
    crop = cut_crop(turned, Detection(box=box, score=1, roll_degrees=degrees), shape)
    assert np.corrcoef(crop.ravel(), upright.ravel())[0, 1] > 0.9


def test_a_face_half_outside_the_picture_is_found(detector: FaceDetector) -> None:
    (face,) = detector.detect(np.ascontiguousarray(ASTRONAUT[:, 212:]))
    assert centre(face)[0] == pytest.approx(12, abs=20)


def test_two_heads_close_together_are_two_faces(detector: FaceDetector, head: np.ndarray) -> None:
    narrow = head[:, 25:135]
    faces = detector.detect(paste([(narrow, 100, 100), (narrow[:, ::-1], 210, 100)], 360, 480))
    assert len(faces) == 2


@pytest.mark.parametrize(("side", "rows", "columns"), [(100, 5, 10), (80, 8, 8)])
def test_all_faces_of_a_crowd_are_found(
    detector: FaceDetector, head: np.ndarray, side: int, rows: int, columns: int
) -> None:
    small = cv2.resize(head, (side, side), interpolation=cv2.INTER_AREA)
    corners = itertools.product(range(columns), range(rows))
    heads = [(small, 20 + 150 * column, 35 + 150 * row) for column, row in corners]
    faces = detector.detect(paste(heads, 150 * rows, 150 * columns + 20))
    assert len(faces) == rows * columns
    assert max(face.box.width for face in faces) < 0.75 * side


def test_a_large_photo_is_read_alike_from_its_file_and_all_pixels(analyzer: FaceAnalyzer) -> None:
    large = cv2.resize(ASTRONAUT, (4000, 4000), interpolation=cv2.INTER_CUBIC)
    encoded = cv2.imencode(".jpg", large[:, :, ::-1])[1].tobytes()
    (of_file,) = analyzer.analyze_file(encoded).faces
    (of_pixels,) = analyzer.analyze(large).faces
    assert centre(of_file) == pytest.approx(centre(of_pixels), abs=20)
    assert of_file.box.width == pytest.approx(of_pixels.box.width, abs=20)
    for task, reading in of_file.predictions.items():
        expected = of_pixels.predictions[task].probabilities
        assert reading.probabilities == pytest.approx(expected, abs=0.05)


def test_a_picture_full_of_small_faces_asks_about_a_bounded_number_of_positions(
    detector: FaceDetector, head: np.ndarray
) -> None:
    small = cv2.resize(head, (48, 48), interpolation=cv2.INTER_AREA)
    passes: list[PassResult] = []
    faces = detector.detect(np.tile(small, (30, 30, 1)), "thorough", passes)
    kept = detector.keep_best(faces)
    assert len(kept) == detector.settings.max_faces < len(faces)
    assert min(face.score for face in kept) >= sorted(face.score for face in faces)[-len(kept)]
    assert (
        max(len(search_pass.proposals) for search_pass in passes)
        <= detector.settings.max_candidates_per_pass
    )


def test_small_faces_in_24_megapixels_are_found(detector: FaceDetector, head: np.ndarray) -> None:
    small = cv2.resize(head, (66, 66), interpolation=cv2.INTER_AREA)
    large = cv2.resize(head, (660, 660), interpolation=cv2.INTER_CUBIC)
    rear = [(small, 500 + 700 * number, 1100) for number in range(8)]
    front = [(large, 1000 + 1500 * number, 2500) for number in range(3)]
    faces = detector.detect(paste([*rear, *front], 4000, 6000), "thorough")
    widths = sorted(face.box.width for face in faces)
    assert widths[:8] == pytest.approx([40] * 8, abs=8)
    assert widths[8:] == pytest.approx([400] * 3, abs=80)
    corners = sorted((left, top) for _, left, top in rear)
    found = sorted((face.box for face in faces if face.box.width < 60), key=lambda box: box.x)
    for (left, top), box in zip(corners, found, strict=True):
        assert (box.x + box.width / 2, box.y + box.height / 2) == pytest.approx(
            (left + 33, top + 33), abs=10
        )


def test_small_faces_in_a_panorama_are_found(detector: FaceDetector, head: np.ndarray) -> None:
    small = cv2.resize(head, (92, 92), interpolation=cv2.INTER_AREA)
    corners = [(900 + 1900 * number, 1400 + 60 * number) for number in range(6)]
    panorama = paste([(small, left, top) for left, top in corners], 3300, 12000)
    boxes = sorted(
        (face.box for face in detector.detect(panorama, "balanced")), key=lambda box: box.x
    )
    assert [box.width for box in boxes] == pytest.approx([55] * 6, abs=10)
    assert [box.x + box.width / 2 for box in boxes] == pytest.approx(
        [left + 46 for left, _ in corners], abs=10
    )


def test_a_face_in_a_dark_photo_is_found(detector: FaceDetector) -> None:
    dark = (255 * (ASTRONAUT / 255.0) ** 3).astype(np.uint8)
    (face,) = detector.detect(dark)
    assert centre(face) == pytest.approx((224, 113), abs=15)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("scene", ["coffee", "rocket", "chelsea"])
def test_no_face_is_found_without_people(detector: FaceDetector, scene: str, effort: str) -> None:
    assert detector.detect(getattr(skimage.data, scene)(), effort) == []  # type: ignore[arg-type]


def test_a_face_is_found_again_near_its_last_position_or_lost(detector: FaceDetector) -> None:
    previous = detector.detect(ASTRONAUT)
    moved = np.roll(ASTRONAUT, (9, 14), axis=(0, 1))
    (face,) = detector.detect_near(moved, previous)
    assert face
    x, y = centre(previous[0])
    assert centre(face) == pytest.approx((x + 14, y + 9), abs=8)
    assert detector.detect_near(skimage.data.coffee(), previous) == [None]


def test_the_trace_tells_each_stage(detector: FaceDetector) -> None:
    passes: list[PassResult] = []
    faces = detector.detect(ASTRONAUT, "balanced", passes)
    (search_pass,) = passes
    assert (
        len(search_pass.windows) + len(search_pass.network_boxes)
        >= len(search_pass.proposals)
        > len(search_pass.faces)
        == len(faces)
    )


def test_an_altered_face_classifier_is_refused_at_the_start(models: Path) -> None:
    (models / "face_classifier" / "model.onnx").write_bytes(b"altered")
    with pytest.raises(ModelError, match=r"face_classifier/model\.onnx"):
        FaceAnalyzer.load(models)


def test_the_finest_search_of_a_huge_photo_is_bounded(detector: FaceDetector) -> None:
    def decode(scale: int) -> np.ndarray:
        return np.full((5000 // scale, 8000 // scale, 3), 120, np.uint8)

    passes: list[PassResult] = []
    assert detector.detect(LazyImage(8000, 5000, decode, JPEG_SCALES), "thorough", passes) == []
    octaves = [each.search_pass.octave for each in passes]
    assert max(octaves) == 4
    finest = min(each.scale for each in passes)
    assert 8000 * 5000 / finest**2 <= MOST_SEARCHED


def test_faces_too_many_are_told_as_truncated(analyzer: FaceAnalyzer, head: np.ndarray) -> None:
    narrow = head[:, 25:135]
    photo = paste([(narrow, 100, 100), (narrow[:, ::-1], 210, 100)], 360, 480)
    whole = analyzer.analyze(photo)
    few = replace(analyzer, detector=analyzer.detector.adjusted(max_faces=1))
    cut = few.analyze(photo)
    assert (len(whole.faces), whole.truncated) == (2, False)
    assert (len(cut.faces), cut.truncated) == (1, True)
    assert cut.to_json()["truncated"] is True


def test_the_cascade_alone_asks_no_network(analyzer: FaceAnalyzer) -> None:
    alone = analyzer.with_detector("haar")
    passes: list[PassResult] = []
    (face,) = alone.detector.detect(ASTRONAUT, "balanced", passes)
    assert centre(face) == pytest.approx((224, 113), abs=15)
    assert all(len(each.network_boxes) == 0 < len(each.windows) for each in passes)
    assert alone.with_detector("combined").detector.network
    assert analyzer.with_detector(None) is analyzer


@pytest.mark.skipif(
    REASON not in load_card(Path("models/face_classifier")).heads,
    reason="The face classifier has no head of reasons.",
)
def test_a_face_tells_why_it_cannot_be_read(detector: FaceDetector) -> None:
    (plain,) = detector.detect(ASTRONAUT)
    assert max(plain.reasons.values()) < 0.5
    masked = ASTRONAUT.copy()
    cv2.ellipse(masked, (224, 150), (36, 26), 0, 0, 360, (200, 210, 220), -1)
    (covered,) = detector.detect(masked)
    assert covered.reasons["covered_lower"] > 0.5
    assert "reasons" not in covered.to_json()


def test_another_model_is_no_proposer() -> None:
    with pytest.raises(ModelError, match="no proposer"):
        NetworkProposer.load(Path("models/face_classifier"))


@pytest.mark.parametrize("degrees", [0, 20, -20])
def test_the_network_proposes_a_face_with_its_turn(detector: FaceDetector, degrees: int) -> None:
    grey = cv2.cvtColor(turn(ASTRONAUT, degrees), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    boxes = detector.proposer.propose(small, 6)
    x, y = 0.4 * np.array(centre_of_turned(degrees, grey.shape))
    near = boxes[np.hypot(boxes[:, 0] - x, boxes[:, 1] - y) < 8]
    fitting = near[abs(near[:, 2] / (0.4 * FACE.width) - 1) < 0.35]
    assert min(abs((roll - degrees + 180) % 360 - 180) for roll in fitting[:, 3]) < 30
