import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from app.paths import STUDIES
from app.vision.imaging.crops import CropShape
from tests.training.recipes import fail, make_pictures, succeed
from tests.training.studies.smoke import read_figures, read_report, read_results, study, write_data
from training.datasets.loading import SubsetSpec, read_split
from training.datasets.splitting import split_in_folds
from training.fit import pretrained as pretrained_bodies
from training.fit.networks import build_network
from training.recipe import DataError, parse_recipe
from training.studies.finetune_depth import judge
from training.studies.reporting import compare_points, describe_published
from training.studies.study import load_study

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path)


@pytest.fixture(scope="module")
def depths(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of depths in `work`, beside its `pictures`."""
    folder = tmp_path_factory.mktemp("depths")
    make_pictures(folder / "pictures", 20, ("one", "two"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAUT_PRETRAINED", str(weights))
        succeed(*study("finetune-depth", folder / "pictures", folder / "work"))
    return folder


def test_an_unknown_study_is_rejected_with_the_known_names(tmp_path: Path) -> None:
    fail("expression-epochs-batches", *study("weather", tmp_path, tmp_path / "work"))


def test_the_paper_s_grid_is_set_beside_the_rows_that_ran() -> None:
    (path,) = STUDIES.glob("clothing-grid/*/results.json")
    ran = json.loads(path.read_text())["rows"]
    published = load_study("clothing-grid", "full").published
    assert sum(len(table.rows) for table in published) == 108
    (table,) = compare_points(published, ran)  # only Xception's weights were there
    section = describe_published(table)
    assert "| 500 | 64 | 0.0001 | 28.76% | 24.00% |" in section
    assert "27 of 27 ran: mean difference -1.4 points, correlation 0.996." in section


def test_the_network_from_scratch_has_the_paper_s_maps() -> None:
    recipe = parse_recipe(load_study("gender-fast-transfer", "full").recipe)
    network = build_network(recipe, {"label": ("female", "male")})
    shapes = [
        layer.output.shape[1:]
        for layer in network.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.MaxPooling2D))
    ]
    assert shapes == [(74, 74, 16), (24, 24, 32), (12, 12, 32), (10, 10, 64), (8, 8, 64)]


def test_leakage_is_rejected_before_any_training(data: Path, tmp_path: Path) -> None:
    leaked = data / "validation" / "one" / "leaked.png"
    shutil.copyfile(next((data / "train" / "one").iterdir()), leaked)
    leaking = study("gender-resnet18", data, tmp_path / "work")
    fail("1 pictures are in two splits", *leaking)
    assert not (tmp_path / "work").exists()


def test_a_study_that_would_take_days_has_a_reduced_scale() -> None:
    study = load_study("finetune-depth", "reduced")
    assert study.options["depths"]["vgg16"] == [3, 8]
    assert any(sentence.startswith("Reduced: depths of 3 and 8") for sentence in study.differences)
    fail("has no scale 'reduced'", "study", "gender-fast-transfer", "--scale", "reduced")


def test_resnet18_is_measured_at_its_best_epoch_and_a_missing_start_is_reported(
    data: Path, tmp_path: Path
) -> None:
    succeed(*study("gender-resnet18", data, tmp_path / "work"))
    (row,) = read_results(tmp_path / "work")
    assert (row["photos"], row["start"]) == ("8", "random")
    report = read_report(tmp_path / "work")
    assert "runs/nothing holds no finished training" in report
    assert "One photo, `" in report
    missing = "| not in the paper |  | This did not run. |"
    assert f"| accuracy with all photos, from random weights {missing}" in report


@pytest.mark.usefixtures("pretrained")
def test_transfer_by_kept_features_is_compared_with_a_network_from_scratch(
    data: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    succeed(*study("gender-fast-transfer", data, work))
    assert [row["way"] for row in read_results(work)] == ["transfer", "scratch"]
    kept = {path: path.stat().st_mtime_ns for path in (work / "features").glob("vgg16-32-*.npy")}
    assert len(kept) == 2

    succeed(*study("gender-fast-transfer", data, work, "--resume"))
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


def test_missing_weights_are_reported_and_no_figure_is_shown(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise OSError("no network")

    fail.__name__ = "VGG16"
    monkeypatch.setitem(pretrained_bodies.APPLICATIONS, "vgg16", (fail, "caffe"))
    pretrained_bodies.load_base.cache_clear()
    monkeypatch.delenv("RAUT_PRETRAINED", raising=False)
    output = succeed(*study("gender-fast-transfer", data, tmp_path / "work"))
    assert output.startswith("The ImageNet weights of vgg16 can't be downloaded")
    report = read_report(tmp_path / "work")
    assert "| time by transfer | 102 s |  | This did not run. |" in report
    assert "vgg16.weights.h5" in report


def test_depths_are_compared_and_the_best_is_cross_validated(depths: Path) -> None:
    rows = read_results(depths / "work")
    assert [row["depth"] for row in rows] == ["3", "8"]
    assert {row["verdict"] for row in rows} <= {"underfit", "good", "overfit"}
    report = read_report(depths / "work")
    assert "## vgg16, 2 folds" in report
    assert re.search(r"cross-validated \| 78.59% ± 3.66 .*? \| \d+\.\d\d% ± \d+\.\d\d \|", report)
    assert "| ResNet50, accuracy | 99.38% (6 layers, 100 epochs) |  | This did not run. |" in report


@pytest.mark.parametrize(
    ("training", "validation", "verdict"),
    [(0.6, 0.6, "underfit"), (0.99, 0.97, "good"), (0.99, 0.8, "overfit")],
)
def test_curves_are_judged_by_the_stated_rule(
    training: float, validation: float, verdict: str
) -> None:
    history = [{"accuracy_label": training, "validation_accuracy_label": validation}] * 9
    assert judge(history, load_study("finetune-depth", "full").options) == verdict


def test_folds_hold_each_picture_out_once_and_keep_near_duplicates_together(tmp_path: Path) -> None:
    make_pictures(tmp_path, 10, ("one", "two"))
    for name in ("one", "two"):
        for number in range(5):
            picture = Image.open(tmp_path / name / f"{number}.png")
            picture.save(tmp_path / name / f"{number}-again.jpg", quality=95)
    split = read_split(tmp_path, "", CropShape(40, 3))
    folds = list(split_in_folds(split, 5, seed=1))
    assert (np.sum([held_out for _, held_out in folds], axis=0) == 1).all()
    for learned, held_out in folds:
        assert not (learned & held_out).any()
        names = [
            {f"{f.parent.name}/{f.stem.removesuffix('-again')}" for f in split.subset(side).files}
            for side in (learned, held_out)
        ]
        assert not names[0] & names[1]


@pytest.mark.usefixtures("pretrained")
def test_a_grid_is_searched_and_the_best_is_tested_out_of_distribution(
    data: Path, tmp_path: Path
) -> None:
    make_pictures(tmp_path / "animals", 3, ("cats",), seed=5)
    make_pictures(tmp_path, 2, ("scenes",), seed=6)
    succeed(*study("clothing-grid", data, tmp_path / "work"))
    rows = read_results(tmp_path / "work")
    assert [row["batch"] for row in rows] == ["8", "16"]
    report = read_report(tmp_path / "work")
    assert "| xception | 71 |" in report
    for network in ("xception", "clothing-teacher"):
        table = report.partition(f"## Out-of-distribution pictures, {network}")[2]
        assert "| cats | 3 |" in table
        assert "| scenes | 2 |" in table
    fitted = {"clothing-teacher_macro_f1", "one_view_macro_f1"}
    assert fitted <= read_figures(tmp_path / "work").keys()
    assert "There are no out-of-distribution pictures in" not in report
    assert "| macro-F1, EfficientNetB7 | 92.2% |  | This did not run. |" in report

    trainings = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.keras")}
    shutil.rmtree(tmp_path / "scenes")
    succeed(*study("clothing-grid", data, tmp_path / "work", "--resume"))
    missing = f"There are no out-of-distribution pictures in {tmp_path / 'scenes'}"
    assert missing in read_report(tmp_path / "work")
    assert trainings == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("model.keras")}


def test_a_subset_is_stratified_and_reproducible_by_its_seed(tmp_path: Path) -> None:
    make_pictures(tmp_path, 9, ("one", "two"))
    for name, adult in (("one", "31_0_1_2017.png"), ("two", "40_1_1_2017.png")):
        (tmp_path / name / "0.png").rename(tmp_path / name / adult)
    shape = CropShape(40, 3)
    first, again, other = (
        read_split(tmp_path, "", shape, SubsetSpec(count=6, seed=seed)).files for seed in (1, 1, 2)
    )
    assert [file.parent.name for file in first] == ["one"] * 3 + ["two"] * 3
    assert first == again != other
    with pytest.raises(DataError, match="10 can't be sampled"):
        read_split(tmp_path, "", shape, SubsetSpec(count=20))
    (tmp_path / "two" / "8.png").unlink()
    third = read_split(tmp_path, "", shape, SubsetSpec(count=0.34)).files
    assert [file.parent.name for file in third] == ["one"] * 3 + ["two"] * 2
    adults = read_split(tmp_path, "", shape, SubsetSpec(youngest=18)).files
    assert [file.name for file in adults] == ["31_0_1_2017.png", "40_1_1_2017.png"]
    with pytest.raises(DataError, match="has 0 pictures"):
        read_split(tmp_path, "", shape, SubsetSpec(youngest=41))
