"""Test that a data set's faults are found before anybody trains on it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from tests.training.recipes import run


def check(*arguments: str | Path) -> Result:
    return run("data", "check", *arguments)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two splits with two classes of different noise each."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("validation", 3)):
        for name in ("one", "two"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture = random.integers(0, 256, (32, 40, 3), np.uint8)
                Image.fromarray(picture).save(folder / f"{number}.png")
    return tmp_path / "data"


def test_a_clean_set_passes_with_its_counts_and_sizes(data: Path) -> None:
    passed = check(data)
    assert passed.exit_code == 0, passed.output
    assert "train       one                8" in passed.output
    assert "Every picture is 40 x 32 pixels." in passed.output


def test_class_folders_without_parts_are_checked_too(data: Path) -> None:
    passed = check(data / "train")
    assert passed.exit_code == 0, passed.output
    refused = check(data / "train" / "one")
    assert refused.exit_code == 1
    assert "nor class folders with pictures" in refused.output


def test_the_same_picture_in_two_parts_fails_unless_allowed(data: Path) -> None:
    shutil.copyfile(data / "train" / "one" / "0.png", data / "validation" / "one" / "copy.png")
    failed = check(data)
    assert failed.exit_code == 1
    assert "Leakage: 1 pictures stand in two splits" in failed.output
    assert "copy.png" in failed.output
    assert check(data, "--allow-leakage").exit_code == 0


def test_nearly_the_same_picture_in_two_parts_fails_unless_allowed(data: Path) -> None:
    picture = Image.open(data / "train" / "one" / "0.png")
    picture.save(data / "validation" / "one" / "again.jpg", quality=95)
    failed = check(data)
    assert failed.exit_code == 1
    assert "1 groups of nearly the same picture stand in two splits" in failed.output
    assert "again.jpg" in failed.output
    assert check(data, "--allow-leakage").exit_code == 0


def test_a_picture_under_two_labels_an_unreadable_one_and_an_empty_class_are_faults(
    data: Path,
) -> None:
    shutil.copyfile(data / "train" / "one" / "0.png", data / "train" / "two" / "copy.png")
    (data / "train" / "two" / "broken.png").write_bytes(b"no picture")
    (data / "train" / "three").mkdir()
    failed = check(data, "--allow-leakage")
    assert failed.exit_code == 1
    for words in (
        "1 pictures stand under two labels",
        "Unreadable: ",
        "The class 'three' is empty in train.",
        "The splits have different classes.",
    ):
        assert words in failed.output


def test_uneven_classes_and_sizes_are_told(data: Path) -> None:
    for file in sorted((data / "train" / "one").iterdir())[:6]:
        file.unlink()
    random = np.random.default_rng(1)
    large = Image.fromarray(random.integers(0, 256, (90, 80, 3), np.uint8))
    large.save(data / "train" / "two" / "large.png")
    passed = check(data)
    assert passed.exit_code == 0, passed.output
    assert "Uneven classes in train: two has 9 pictures, one 2." in passed.output
    assert "40 to 80 pixels wide" in passed.output
