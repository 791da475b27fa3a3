from pathlib import Path

import numpy as np
import pytest

from app.vision.models.cards import load_card
from app.vision.models.classifiers import load_classifier
from app.vision.models.features import FeatureNetwork
from tests.training.recipes import fail, fit, make_pictures, succeed
from training.datasets.ood import read_ood
from training.fit.pretrained import build_body
from training.recipe import DataError, OODSet

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's and its exporter's own
# Made pictures have other classes than the recipe's, and no teacher.
ALONE = {"data.oversample": "{}", "distillation.teachers": "[]"}


@pytest.mark.usefixtures("pretrained")
def test_out_of_distribution_pictures_are_predicted_as_none_of_these(tmp_path: Path) -> None:
    for seed, split in enumerate(("train", "validation")):
        make_pictures(tmp_path / "data" / split, 16, ("one", "two"), seed)
    make_pictures(tmp_path / "others", 8, ("three", "four"), 2)
    succeed("data", "prepare", "scenes", tmp_path / "scenes")
    sets = f"""{{others = {{folder = "{tmp_path / "others"}"}},
        scenes = {{folder = "{tmp_path / "scenes"}", train_on = false}}}}""".replace("\n", "")
    changes = ALONE | {
        "data.folder": tmp_path / "data",
        "data.size": 40,
        "data.stored_size": 40,
        "data.ood": sets,
        "network.options.last": "block3_sepconv1_act",
        "network.options.learned_from": "block3_sepconv1_act",
        "schedule.epochs": 1,
        "schedule.batch": 8,
    }
    fit("clothing", tmp_path / "run", *(f"{key}={value}" for key, value in changes.items()))

    folder = tmp_path / "models" / "clothing"
    succeed("export", tmp_path / "run", folder)
    card = load_card(folder)
    assert card.region == "image"
    assert card.heads["clothes"].ood is not None
    own, others, scenes = card.figures["ood"]
    assert (own["kind"], own["count"]) == ("clothing", 32)
    assert own["refused"] <= 0.05 + 1 / own["count"]
    figures = card.figures["heads"]["clothes"]
    refused = sum(row[-1] for row in figures["confusion"])  # the last label is none of the classes
    assert refused == round(own["refused"] * own["count"])
    assert set(figures["recall"]) == {"one", "two", "none_of_these"}
    assert (others["kind"], others["count"]) == ("others", 8)
    assert (scenes["kind"], scenes["count"]) == ("scenes", 23)
    assert "“none of these”" in (folder / "README.md").read_text()
    assert (folder / "model.keras").stat().st_size < 4 * card.figures["speed"]["parameters"]
    assert "EfficientNet-Lite0 with ImageNet's weights" in (folder / "README.md").read_text()
    crops = np.random.default_rng(1).integers(0, 255, (2, 40, 40, 3), np.uint8)
    maps = build_body("efficientnetlite0", 40).predict(crops, verbose=0)
    features = FeatureNetwork(load_classifier(folder)).read(crops)
    assert np.corrcoef(features.ravel(), maps.mean(axis=(1, 2)).ravel())[0, 1] > 0.99


def test_a_folder_is_halved_or_kept_whole_for_validation(tmp_path: Path) -> None:
    make_pictures(tmp_path, 8, ("three", "four"), 2)
    sets = {"others": OODSet(folder=tmp_path)}
    splits = (read_ood(sets, split, 16, 1)["others"] for split in ("train", "validation"))
    learned, measured = splits
    assert len(learned.files) == len(measured.files) == 8
    assert not set(learned.files) & set(measured.files)
    sets = {"others": OODSet(folder=tmp_path, train_on=False)}
    assert read_ood(sets, "train", 16, 1) == {}
    assert len(read_ood(sets, "validation", 16, 1)["others"].files) == 16


def show(outside: OODSet, side: int) -> np.ndarray:
    return read_ood({"others": outside}, "train", side, 1)["others"].pictures[0]


def test_a_puzzle_has_its_picture_s_pieces_in_another_order(tmp_path: Path) -> None:
    make_pictures(tmp_path, 2, ("three",), 2)
    whole, puzzle = (show(OODSet(folder=tmp_path, jigsaw=pieces), 16) for pieces in (1, 4))
    assert (whole != puzzle).any()
    pieces = [
        {picture[y : y + 4, x : x + 4].tobytes() for y in range(0, 16, 4) for x in range(0, 16, 4)}
        for picture in (whole, puzzle)
    ]
    assert pieces[0] == pieces[1]


def test_a_window_is_cut_from_its_picture_before_it_is_resized(tmp_path: Path) -> None:
    make_pictures(tmp_path, 2, ("three",), 2)
    whole, window = (show(OODSet(folder=tmp_path, window=share), 48) for share in (1.0, 0.25))
    # A quarter of the side, enlarged four times, differs four times less from point to point.
    near, far = (np.abs(np.diff(each.astype(int), axis=1)).mean() for each in (window, whole))
    assert near < far


def test_too_many_pictures_are_not_sampled_nor_near_duplicates_halved(tmp_path: Path) -> None:
    make_pictures(tmp_path, 4, ("three", "four"), 2)
    with pytest.raises(DataError, match="has 4 pictures; 5 can't be sampled"):
        read_ood({"others": OODSet(folder=tmp_path, count=5)}, "train", 16, 1)
    make_pictures(tmp_path / "few", 1, ("three",), 2)
    with pytest.raises(DataError, match="too few different pictures to be halved"):
        read_ood({"others": OODSet(folder=tmp_path / "few")}, "train", 16, 1)


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_folder_without_pictures_is_named_before_training(tmp_path: Path, folder: str) -> None:
    make_pictures(tmp_path / "data" / "train", 4, ("one", "two"))
    make_pictures(tmp_path / "data" / "validation", 4, ("one", "two"), 1)
    make_pictures(tmp_path / "others", 4, ("three", "four"), 2)
    (tmp_path / "empty").mkdir()
    sets = (
        f'{{others = {{folder = "{tmp_path / "others"}"}}, '
        f'scenes = {{folder = "{tmp_path / folder}", train_on = false}}}}'
    )
    changes = ALONE | {"data.folder": tmp_path / "data", "data.ood": sets}
    settings = [f"--set={key}={value}" for key, value in changes.items()]
    message = f"There are no out-of-distribution pictures in {tmp_path / folder}."
    fail(message, "fit", "clothing", "--out", tmp_path / "run", *settings)
