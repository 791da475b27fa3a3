import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from app.settings import Settings
from app.vision.geometry import Box, softmax
from app.vision.live import LiveReader
from app.vision.pipeline import FaceAnalyzer
from app.vision.readings import FaceReading, Prediction, TrackedFace
from app.vision.tracking import Tracker
from bench.moving import encode_frame
from tests.helpers.cards import rewrite_card
from tests.helpers.forms import ASTRONAUT

CLASSES = ["angry", "happy", "neutral"]
UNSURE_BELOW = 0.7
# The networks' answers for a still face under camera noise, its box a few pixels off each time,
# vary by 0.2 (standard deviation of each logarithm of a probability).
NOISE = 0.3

Logits = Callable[[float], list[float]]


def read(
    box: Box, logits: Sequence[float] | np.ndarray, threshold: float = UNSURE_BELOW
) -> FaceReading:
    probabilities = dict(zip(CLASSES, softmax(np.asarray(logits, float)).tolist(), strict=True))
    label = max(probabilities, key=probabilities.__getitem__)
    prediction = Prediction(
        label=label,
        probability=probabilities[label],
        confident=probabilities[label] >= threshold,
        probabilities=probabilities,
        threshold=threshold,
    )
    return FaceReading(box=box, score=0.9, expression=prediction)


def hide(face: FaceReading) -> FaceReading:
    update = {"confident": False, "reason": "blurred"}
    prediction = face.predictions["expression"].model_copy(update=update)
    return face.model_copy(update={"expression": prediction})


def face_at(x: int, y: int = 100, side: int = 100) -> FaceReading:
    return read(Box(x, y, side, side), [0, 3, 0])


def numbers(faces: tuple[TrackedFace, ...]) -> list[int]:
    return [face.track for face in faces]


def watch(logits: Logits, seconds: float, rate: float) -> Iterator[tuple[float, str]]:
    """Show one face whose logits vary with time and with noise; yield times and words shown."""
    random = np.random.default_rng(0)
    one = Tracker(1.0)
    for index in range(int(seconds * rate)):
        now = index / rate
        noisy = np.asarray(logits(now)) + random.normal(0, NOISE, len(CLASSES))
        (face,) = one.update([read(Box(100, 100, 100, 100), noisy)], now)
        shown = face.predictions["expression"]
        yield now, shown.label if shown.confident else "unsure"


def test_faces_keep_their_numbers_while_they_move() -> None:
    one = Tracker(1.0)
    for step in range(30):
        faces = one.update([face_at(100 + 12 * step), face_at(600 - 8 * step)], step / 30)
        assert numbers(faces) == [1, 2]


def test_the_order_of_detections_does_not_matter() -> None:
    one = Tracker(1.0)
    one.update([face_at(100), face_at(400)], 0.0)
    faces = one.update([face_at(404), face_at(98)], 0.1)
    assert [(face.track, face.box.x) for face in faces] == [(1, 98), (2, 404)]


def test_a_fast_face_is_matched_by_distance_and_one_behind_another_gets_its_own_number() -> None:
    one = Tracker(1.0)
    one.update([face_at(100)], 0.0)
    assert numbers(one.update([face_at(195)], 0.1)) == [1]
    one = Tracker(1.0)
    one.update([face_at(100, side=200)], 0.0)
    assert numbers(one.update([face_at(160, 160, side=50)], 0.1)) == [1, 2]


def test_a_missed_face_stays_for_a_moment_and_keeps_its_number_but_not_for_longer() -> None:
    one = Tracker(1.0)
    one.update([face_at(100)], 0.0)
    (held,) = one.update([], 0.1)
    assert (held.track, held.detected) == (1, False)
    assert one.update([], 0.6) == ()
    (back,) = one.update([face_at(110)], 0.9)
    assert (back.track, back.detected) == (1, True)
    assert one.update([], 1.0) != ()
    assert numbers(one.update([face_at(110)], 2.1)) == [2]


def test_a_face_in_every_frame_keeps_its_number_however_far_apart_they_are() -> None:
    one = Tracker(1.0)
    for now in (0.0, 1.5, 9.0):
        assert numbers(one.update([face_at(100)], now)) == [1]
    assert len(one.last_detections(12.0)) == 1


def test_a_face_that_keeps_its_number_for_no_time_keeps_it_while_it_is_seen() -> None:
    one = Tracker(0.0)
    one.update([face_at(100)], 0.0)
    assert numbers(one.update([face_at(104)], 0.1)) == [1]
    one.update([], 0.2)
    assert numbers(one.update([face_at(104)], 0.3)) == [2]


def test_a_doubtful_newcomer_waits_for_its_second_sighting() -> None:
    doubtful = FaceReading(box=Box(100, 100, 100, 100), score=0.3)
    one = Tracker(1.0)
    assert one.update([doubtful], 0.0) == ()
    assert numbers(one.update([doubtful], 0.1)) == [1]


@pytest.mark.parametrize("rate", [5, 10, 30])
@pytest.mark.parametrize(
    "logits",
    [[0, 2, 2], [0, 2, 1.7], [-9, 0.8473, 0]],
    ids=["two classes level", "one slightly ahead", "right on the threshold"],
)
def test_a_still_face_changes_words_at_most_once_a_minute(rate: float, logits: list[float]) -> None:
    minutes = 2
    words = [word for _, word in watch(lambda now: logits, 60 * minutes, rate)]
    changes = sum(one != other for one, other in itertools.pairwise(words))
    assert changes <= minutes


@pytest.mark.parametrize("rate", [5, 10, 30])
@pytest.mark.parametrize("strength", [3, 6])
def test_a_change_is_followed_within_seven_tenths_of_a_second(rate: float, strength: float) -> None:
    def smile(now: float) -> list[float]:
        return [0, strength, 0] if now >= 3 else [0, 0, strength]

    words = dict(watch(smile, 6, rate))
    assert all(word == "neutral" for now, word in words.items() if 1 <= now < 3)
    assert all(word == "happy" for now, word in words.items() if now >= 3.7)


def test_a_blink_of_another_expression_does_not_show() -> None:
    def blink(now: float) -> list[float]:
        return [0, 4, 0] if 3 <= now < 3.1 else [0, 0, 4]

    assert {word for now, word in watch(blink, 6, 30) if now > 1} == {"neutral"}


def test_the_average_follows_equally_fast_at_any_frame_rate() -> None:
    def probability_after_a_change(rate: int) -> float:
        one = Tracker(1.0)
        for index in range(3 * rate + rate // 5 + 1):
            logits = [0, 3, 0] if index >= 3 * rate else [0, 0, 3]
            (face,) = one.update([read(Box(100, 100, 100, 100), logits)], index / rate)
        return face.predictions["expression"].probabilities["happy"]

    slow, fast = probability_after_a_change(10), probability_after_a_change(60)
    assert slow == pytest.approx(fast, abs=0.12)


def test_without_smoothing_each_frame_shows_its_own_prediction() -> None:
    one = Tracker(1.0)
    one.smoothing_seconds = 0
    one.update([read(Box(100, 100, 100, 100), [0, 0, 3])], 0.0)
    plain = read(Box(100, 100, 100, 100), [1, 2, 0])
    (face,) = one.update([plain], 0.03)
    shown, own = face.predictions["expression"], plain.predictions["expression"]
    assert (shown.label, shown.confident) == (own.label, own.confident)
    assert shown.probabilities == pytest.approx(own.probabilities, abs=1e-3)


def test_a_face_of_which_more_is_asked_is_answered_by_its_own_threshold() -> None:
    one = Tracker(1.0)
    logits = [0, 2, 0]
    (surer,) = one.update([read(Box(100, 100, 100, 100), logits)], 0.0)
    assert surer.predictions["expression"].confident
    for step in range(1, 30):
        guarded = read(Box(100, 100, 100, 100), logits, threshold=0.99)
        (doubted,) = one.update([guarded], step / 10)
    assert not doubted.predictions["expression"].confident


def test_a_held_label_stands_beside_its_own_probability_and_the_limit_it_waits_for() -> None:
    one = Tracker(1.0)
    random = np.random.default_rng(0)
    held = 0
    for step in range(200):
        noise = random.normal(0, NOISE, len(CLASSES))
        logits = np.add(noise, (2.0 * (step % 40 > 20), 1.5, 0))
        (face,) = one.update([read(Box(100, 100, 100, 100), logits)], step / 10)
        shown = face.predictions["expression"]
        assert shown.probability == shown.probabilities[shown.label]
        held += shown.probability < max(shown.probabilities.values())
        assert shown.confident == (shown.threshold < UNSURE_BELOW)
    assert held


def test_a_real_still_face_under_camera_noise_keeps_its_word(analyzer: FaceAnalyzer) -> None:
    random = np.random.default_rng(0)
    photo, reader = ASTRONAUT[:300, 80:380], LiveReader(analyzer, 1.0)
    words: list[tuple[int, str, bool]] = []
    for index in range(120):
        noisy = np.clip(photo + random.normal(0, 6, photo.shape), 0, 255)
        (face,) = reader.read_frame(encode_frame(noisy.astype(np.uint8)), at=index / 2).faces
        assert isinstance(face, TrackedFace)
        shown = face.predictions["expression"]
        words.append((face.track, shown.label, shown.confident))
    changes = sum(one != other for one, other in itertools.pairwise(words))
    assert changes <= 1
    assert words[-1] == (1, "happy", True)


def test_a_new_face_is_found_within_a_second(analyzer: FaceAnalyzer) -> None:
    reader = LiveReader(analyzer, 1.0)
    empty = encode_frame(np.zeros_like(ASTRONAUT))
    assert reader.read_frame(empty, at=0.0).faces == ()
    assert len(reader.read_frame(encode_frame(ASTRONAUT), at=0.25).faces) == 1


def test_a_face_is_followed_into_frames_of_another_size(analyzer: FaceAnalyzer) -> None:
    reader = LiveReader(analyzer, 1.0)
    reader.read_frame(encode_frame(ASTRONAUT), at=0.0)
    # Too soon for the whole frame to be searched again.
    for at, side in ((0.01, 320), (0.02, 512), (0.03, 400)):
        smaller = np.asarray(Image.fromarray(ASTRONAUT).resize((side, side)))
        (face,) = reader.read_frame(encode_frame(smaller), at=at).faces
        assert isinstance(face, TrackedFace)
        assert (face.track, face.detected) == (1, True)
        assert face.box.x == pytest.approx(178 / 512 * side, abs=8)


def test_a_camera_turned_on_its_side_begins_anew(analyzer: FaceAnalyzer) -> None:
    reader = LiveReader(analyzer, 1.0)
    assert len(reader.read_frame(encode_frame(ASTRONAUT), at=0.0).faces) == 1
    turned = encode_frame(np.zeros((640, 360, 3), np.uint8))
    assert reader.read_frame(turned, at=0.1).faces == ()


def test_of_rival_models_the_default_one_reads_a_camera(models: Path) -> None:
    rewrite_card(Path(shutil.copytree(models / "expression", models / "rival")), name="rival")
    analyzer = FaceAnalyzer.load(models)
    answer = LiveReader(analyzer, 1.0).read_frame(encode_frame(ASTRONAUT))
    assert list(answer.models) == list(analyzer.analyze(ASTRONAUT).models)


def test_a_reason_not_to_read_a_face_is_told_once_it_lasts() -> None:
    one, clear = Tracker(1.0), face_at(100)
    hidden = hide(clear)
    shown = []
    for index, face in enumerate([clear, hidden, clear, hidden, hidden, hidden, hidden, hidden]):
        (tracked,) = one.update([face], index / 10)
        prediction = tracked.predictions["expression"]
        shown.append(prediction.reason)
        assert prediction.confident == (prediction.reason is None)
    assert shown[:5] == [None] * 5
    assert shown[-1] == "blurred"


def turn_head(photo: np.ndarray, degrees: float) -> np.ndarray:
    """Turn the astronaut's head about its own axis, as if it were a cylinder."""
    x, y, width, height = 80, 20, 128, 170
    head = photo[y : y + height, x : x + width]
    across = (np.arange(width) + 0.5) / width * 2 - 1
    angle = np.clip(np.arcsin(across) + np.radians(degrees), -np.pi / 2, np.pi / 2)
    source = np.tile((np.sin(angle) + 1) / 2 * width - 0.5, (height, 1)).astype(np.float32)
    rows = np.tile(np.arange(height, dtype=np.float32)[:, None], (1, width))
    turned = cv2.remap(head, source, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    oval = np.zeros((height, width), np.float32)
    axes = (width // 2 - 4, height // 2 - 4)
    cv2.ellipse(oval, (width // 2, height // 2), axes, 0, 0, 360, 1, -1)
    mask = cv2.GaussianBlur(oval, (0, 0), 4)[..., None]
    result = photo.copy()
    result[y : y + height, x : x + width] = np.rint(turned * mask + head * (1 - mask))
    return result


def test_a_face_that_turns_to_its_profile_and_back_keeps_its_number(analyzer: FaceAnalyzer) -> None:
    photo, reader = ASTRONAUT[:300, 80:380], LiveReader(analyzer, Settings().track_max_age)
    shown = []
    for index in range(30):
        degrees = 75 * np.sin(np.pi * index / 29)
        frame = encode_frame(turn_head(photo, degrees))
        faces = reader.read_frame(frame, at=index / 10).faces
        shown.append([face.track for face in faces if isinstance(face, TrackedFace)])
    assert shown[0] == shown[-1] == [1]
    assert all(each in ([1], []) for each in shown)
