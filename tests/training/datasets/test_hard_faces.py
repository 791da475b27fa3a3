from pathlib import Path

import numpy as np
import pytest

from app.vision.detection.box_maps import STRIDE, draw_map, read_map
from tests.training.hard_faces import write_boxes, write_hard_faces
from training.datasets import hard_faces, made_scenes
from training.datasets.composites import RotatedBox, Sources
from training.datasets.hard_faces import KINDS, darkened, drawn, read_hard_photos
from training.datasets.head_rotation import rotate_head
from training.datasets.occluders import THINGS, cover_face
from training.datasets.proposal_crops import SIDE, SIDES, cut_part
from training.recipe import DataError

FACE = RotatedBox(60.0, 60.0, 50.0, 0.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a hard-faces of one photo in each split."""
    write_hard_faces(tmp_path / "hard-faces")
    return tmp_path


def test_a_box_becomes_the_detectors_square(data: Path) -> None:
    (photo,) = read_hard_photos(data, "train")
    face, uncertain = photo.faces
    assert (face.certain, uncertain.certain) == (True, False)
    assert face.box.side == pytest.approx((60 * 80) ** 0.5)
    assert (face.box.x, face.box.y) == (pytest.approx(56), pytest.approx(60 - 0.013 * 80))
    assert face.seen == 1
    assert KINDS["frontal"](face)
    assert not KINDS["masked"](face)


@pytest.mark.parametrize(("face", "certain"), [("1", [True, True]), ("0", [True])])
def test_a_reviewed_place_is_a_face_or_background(
    face: str, certain: list[bool], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviewed = data / "reviewed.csv"
    reviewed.write_text(f"file,x,y,face\ntrain/web/one.jpg,90,90,{face}\n")
    monkeypatch.setattr(hard_faces, "REVIEWED", reviewed)
    (photo,) = read_hard_photos(data, "train")
    assert [each.certain for each in photo.faces] == certain


def test_beyond_20_degrees_the_landmarks_give_the_side(data: Path) -> None:
    write_boxes(data / "hard-faces", roll_degrees="30")
    (photo,) = read_hard_photos(data, "train")
    assert photo.faces[0].box.side == pytest.approx(2.43 * 33, rel=0.01)


def test_a_square_beyond_the_border_is_cut(data: Path) -> None:
    write_boxes(data / "hard-faces", x="-30")
    (photo,) = read_hard_photos(data, "train")
    assert 0.4 < photo.faces[0].seen < 0.7


def test_missing_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"boxes\.csv"):
        read_hard_photos(tmp_path, "train")


def test_a_darkened_photo_is_nearly_black() -> None:
    dark = darkened(np.full((8, 8, 3), 200, np.uint8), np.random.default_rng(0))
    assert dark.mean() < 80


@pytest.mark.parametrize("roll", [0.0, 90.0])
def test_a_mask_covers_the_mouth_and_sunglasses_the_eyes(
    roll: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    grey = np.full((120, 120), 128, np.uint8)
    face = RotatedBox(60.0, 60.0, 50.0, roll)
    for thing, answers in ((0, {(1.0, 0.0), (0.0, 0.0), (-1.0, 0.0)}), (1, {(0.0, 1.0)})):
        monkeypatch.setattr("training.datasets.occluders.THINGS", {list(THINGS)[thing]: 1.0})
        generators = map(np.random.default_rng, range(12))
        found = {cover_face(grey, face, grey, generator)[1:] for generator in generators}
        assert found <= answers
        assert max(found)[thing] == 1


@pytest.mark.parametrize(("yaw", "grey"), [(80.0, 200), (-80.0, 90)])
def test_a_rotated_head_shows_the_cheek_that_faces_the_camera(yaw: float, grey: int) -> None:
    crop = np.full((112, 112), 200, np.uint8)
    crop[:, 56:] = 90
    square = RotatedBox(55.0, 46.0, 116.0, 0.0)
    head = rotate_head(crop, square, yaw, 0.0, np.random.default_rng(0))
    size = head.picture.shape[0]
    x, y = round(head.box.x * size), round(head.box.y * size)
    assert (x > size / 2) == (yaw > 0)
    assert head.coverage[y, x] == 1
    assert head.picture[y, x] == pytest.approx(grey, abs=2)


def test_photos_change_with_their_faces(data: Path) -> None:
    (photo,) = read_hard_photos(data, "train")
    sources = Sources((), (photo.file,), ())
    for seed in range(20):
        generator = np.random.default_rng(seed)
        picture, faces, unsure = made_scenes.sample_photo(photo, sources, generator)
        assert picture.dtype == np.uint8
        assert len(faces) + len(unsure) == 2
        for face in faces:
            assert 0 <= face.box.x < picture.shape[1]
            assert set(face.reasons) <= {-1.0, 0.0, 1.0}


def test_a_part_shows_its_face_at_the_proposers_sizes() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 120), np.uint8)
    for seed in range(10):
        crop, shown = cut_part(picture, [(FACE, True)], FACE, picture, np.random.default_rng(seed))
        ((face, certain),) = shown
        assert certain
        assert crop.shape == (SIDE, SIDE)
        assert SIDES[0] - 0.5 <= face.side <= SIDES[1] + 0.5
        assert 0 <= min(face.x, face.y) <= max(face.x, face.y) < SIDE


def test_a_map_is_read_as_it_was_drawn() -> None:
    squares = np.array([[30, 40, 20, 35, 1], [70, 70, 24, -170, 1], [20, 80, 18, 0, 0]], float)
    drawn = draw_map(squares, 96).astype(np.float32)
    assert drawn.shape == (96 // STRIDE, 96 // STRIDE, 6)
    assert drawn[80 // STRIDE, 20 // STRIDE, 0] == -1  # the uncertain box
    drawn[..., 0] = np.where(drawn[..., 0] == 1, 5, -5)
    found = read_map(drawn, 0.5)
    for square in squares[:2]:
        near = found[np.abs(found[:, :2] - square[:2]).max(axis=1) < 1]
        assert len(near)
        assert near[:, 2:4] == pytest.approx(np.tile(square[2:4], (len(near), 1)), abs=0.5)


def test_a_drawn_photo_is_lines_on_white() -> None:
    photo = np.full((60, 60, 3), 90, np.uint8)
    photo[:, 30:] = 180
    lines = drawn(photo, np.random.default_rng(0))
    assert lines[:, 29].max() < 220 < lines[:, [5, 55]].min()
