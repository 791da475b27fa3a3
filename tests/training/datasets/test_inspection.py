import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.recipes import fail, make_pictures, succeed


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two splits with two classes of different noise each."""
    for seed, (split, count) in enumerate((("train", 8), ("validation", 3))):
        make_pictures(tmp_path / "data" / split, count, ("one", "two"), seed)
    return tmp_path / "data"


def test_a_clean_set_passes_with_its_counts_and_sizes(data: Path) -> None:
    lines = [line.split() for line in succeed("data", "check", data).splitlines()]
    counts = [["train", "8"], ["validation", "3"]]
    assert lines[:4] == [[split, name, n] for split, n in counts for name in ("one", "two")]
    assert " ".join(lines[4]) == "Every picture is 40 x 40 pixels."


def test_class_folders_without_splits_are_checked_too(data: Path) -> None:
    succeed("data", "check", data / "train")
    fail("nor class folders with pictures", "data", "check", data / "train" / "one")


@pytest.mark.parametrize(
    ("name", "words"),
    [("copy.png", "1 pictures"), ("again.jpg", "1 groups of near-duplicates")],
)
def test_pictures_alike_in_two_splits_fail_unless_allowed(
    data: Path, name: str, words: str
) -> None:
    with Image.open(data / "train" / "one" / "0.png") as picture:
        picture.save(data / "validation" / "one" / name, quality=95)
    for told in (f"Leakage: {words} are in two splits", name):
        fail(told, "data", "check", data)
    succeed("data", "check", data, "--allow-leakage")


def test_pictures_with_two_labels_unreadable_ones_and_empty_classes_are_faults(data: Path) -> None:
    shutil.copyfile(data / "train" / "one" / "0.png", data / "train" / "two" / "copy.png")
    (data / "train" / "two" / "broken.png").write_bytes(b"no picture")
    (data / "train" / "three").mkdir()
    for words in (
        "1 pictures have two labels",
        "Unreadable: ",
        "broken.png",
        "The class 'three' is empty in train.",
        "The splits have different classes.",
    ):
        fail(words, "data", "check", data, "--allow-leakage")


def test_imbalance_and_sizes_are_reported(data: Path) -> None:
    for file in sorted((data / "train" / "one").iterdir())[:6]:
        file.unlink()
    random = np.random.default_rng(1)
    large = Image.fromarray(random.integers(0, 256, (90, 80, 3), np.uint8))
    large.save(data / "train" / "two" / "large.png")
    passed = succeed("data", "check", data)
    assert "Imbalanced classes in train: two has 9 pictures, one 2." in passed
    assert "40 to 80 pixels wide" in passed
