import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from app.vision.models.cards import Card, load_card
from tests.training.recipes import fail, fit, succeed, write_noise, write_recipe
from training.datasets.loading import BOX_COLUMNS, BOXES_FILE
from training.datasets.preparation import VOTE_COLUMNS
from training.runs import write_csv

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's and its exporter's own

HEADS = """
[heads.ferplus]
targets = "votes"
[heads.child]
targets = "children"
"""
COUNT = 40  # validation pictures
AGES = (5, 40)
TIED = {"happiness": 5, "sadness": 5}
CONTEMPT = {"contempt": 6, "sadness": 4}


def write_heads(folder: Path) -> Path:
    """Add votes and ages; two validation pictures have no majority among the answerable classes."""
    recipe = write_recipe(folder)
    smoothing = "label_smoothing = 0.1\n"
    guarded = recipe.read_text().replace(smoothing, f'{smoothing}guarded_by = "child"\n')
    recipe.write_text(guarded.replace("[network]", f"{HEADS}[network]", 1))
    rows = []
    for picture in sorted((folder / "data").glob("*/*/*.png")):
        number = int(picture.stem)
        named = picture.with_name(f"{AGES[number % 2]}_0_{number % 5}_{number}.png")
        picture.rename(named)
        votes = {"happiness": 8, "neutral": 2} if "happy" in picture.parts else {"sadness": 10}
        if picture.parts[-3:-1] == ("validation", "sad") and number < 2:
            votes = (TIED, CONTEMPT)[number]
        file = named.relative_to(folder / "data").as_posix()
        rows.append({"file": file, **dict.fromkeys(VOTE_COLUMNS, 0), **votes})
    write_csv(folder / "data" / "ferplus.csv", rows)
    return recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads")
    fit(write_heads(folder), folder / "run", "schedule.epochs=2")
    succeed("export", folder / "run", folder / "model")
    return folder


@pytest.fixture(scope="module")
def card(made: Path) -> Card:
    return load_card(made / "model")


def test_each_head_is_measured_against_its_own_labels(made: Path) -> None:
    figures = json.loads(succeed("evaluate", made / "model", made / "data"))
    heads = figures["heads"]
    counts = {name: head["count"] for name, head in heads.items()}
    assert counts == {"original": COUNT, "ferplus": COUNT - 2, "child": COUNT}
    assert figures["accuracy"] == heads["original"]["accuracy"]
    assert figures["accuracy_ferplus"] == heads["ferplus"]["accuracy"]
    # Every other picture is a child's.
    assert list(map(sum, heads["child"]["confusion"])) == [COUNT // 2] * 2


def test_contempt_is_learned_and_never_answered(made: Path, card: Card) -> None:
    voted = card.heads["ferplus"]
    assert "contempt" in voted.classes
    assert "contempt" in voted.excluded
    assert "contempt" not in voted.labels
    assert "contempt" not in card.figures["heads"]["ferplus"]["recall"]
    assert "contempt as a class of its own" in (made / "model" / "README.md").read_text()


def test_a_child_s_face_has_a_higher_threshold(made: Path, card: Card) -> None:
    head = card.heads["original"]
    assert head.conditional_threshold
    assert (head.conditional_threshold.head, head.conditional_threshold.found) == ("child", "child")
    groups = [each for each in card.figures["groups"] if each["race"] == each["gender"] == "all"]
    ages = {group["age"]: group["count"] for group in groups}
    assert ages == {"all": COUNT, "3-12": COUNT // 2, "18-59": COUNT // 2}
    assert "a face taken for “child” from" in (made / "model" / "README.md").read_text()


def test_missing_votes_and_ages_are_reported_before_training(tmp_path: Path) -> None:
    recipe = write_heads(tmp_path)
    (tmp_path / "data" / "ferplus.csv").unlink()
    fail("there is no ferplus.csv", "fit", recipe, "--out", tmp_path / "run")
    for picture in (tmp_path / "data").glob("*/*/*.png"):
        picture.rename(picture.with_name(picture.name.replace("_", "-")))
    labels = ("--set", "heads.ferplus.targets=labels")
    fail("no file name holds one", "fit", recipe, "--out", tmp_path / "run", *labels)
    assert not (tmp_path / "run").exists()


def test_the_best_epoch_of_a_network_without_accuracy_has_the_lowest_loss(tmp_path: Path) -> None:
    rows = []
    for number, part in enumerate(product(("train", "validation"), ("face", "other"))):
        folder = tmp_path.joinpath(*part)
        write_noise(folder, 2, (96, 96), 1.0, np.random.default_rng(number))
        for file in folder.iterdir():
            values = (file.relative_to(tmp_path), 48, 48, 20, 0, 1)
            rows.append(dict(zip(("file", *BOX_COLUMNS), values, strict=True)))
    write_csv(tmp_path / BOXES_FILE, rows)
    changes = (f"data.folder={tmp_path}", "schedule.epochs=3", "schedule.batch=2")
    fit("proposer", tmp_path / "run", *changes, "schedule.patience=2", "schedule.keep_best=true")
    assert "The best epoch by validation_loss" in (tmp_path / "run" / "report.md").read_text()
