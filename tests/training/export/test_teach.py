import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.vision.geometry import softmax
from app.vision.imaging.crops import shape_crop
from app.vision.models.classifiers import load_classifier
from tests.helpers.forms import encode
from tests.training import recipes
from training.datasets.experiment import read_splits
from training.export.teach import fit_head, group_interval
from training.recipe import load_recipe


def run(folder: Path, *options: str) -> Result:
    return recipes.run("teach", folder, "--region", "image", *options)


def stripes(seed: int, across: bool) -> np.ndarray:
    """Return a picture of stripes of random widths and colours."""
    generator = np.random.default_rng(seed)
    wave = np.sin(np.arange(96) / generator.uniform(2, 5))[:, None, None] * np.ones((1, 96, 1))
    picture = 128 + 100 * wave * generator.uniform(0.4, 1, 3)
    return (picture if across else picture.swapaxes(0, 1)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of ten pictures, two of each of five people."""
    for seed in range(20):
        place = tmp_path / "stripes" / ("across" if seed % 2 else "down") / f"person {seed // 4}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{seed}.png").write_bytes(encode(stripes(seed, bool(seed % 2))))
    return tmp_path / "stripes"


def test_a_folder_of_classes_becomes_a_model_that_tells_new_pictures(folder: Path) -> None:
    out = folder.parent / "directions"
    recipes.succeed("teach", folder, "--region", "image", "--name", "directions", "--out", out)
    classifier = load_classifier(out)
    classifier.warm_up()
    for across in (True, False):
        crop = shape_crop(stripes(99, across), classifier.card.shape)
        assert classifier.predict(crop[None])[0].label == ("across" if across else "down")
    figures = classifier.card.figures["heads"]["taught"]
    assert (figures["count"], figures["recordings"]) == (20, 5)
    assert figures["accuracy"] > 0.9
    assert "| across |" in (out / "README.md").read_text()


def test_a_recipe_fine_tunes_the_network_on_the_crops_of_the_folder(folder: Path) -> None:
    out = folder.parent / "recipe"
    result = run(folder, "--name", "directions", "--out", str(out), "--recipe-only")
    assert result.output.strip() == f"python -m training fit {out / 'directions.toml'}"
    recipe = load_recipe(str(out / "directions.toml"))
    train, validation = read_splits(recipe)
    assert train.classes == validation.classes == ("across", "down")
    assert len(train.labels) + len(validation.labels) == 20
    assert str(recipe.network.init_from) == "models/clothing"
    again = run(folder, "--name", "directions", "--out", str(out), "--recipe-only")
    assert f"{out} holds files already: use another --out." in again.output


def test_folders_that_cannot_be_taught_are_refused_in_words(folder: Path) -> None:
    same = folder / "down" / "person 0" / "copy.png"
    shutil.copy(folder / "across" / "person 0" / "1.png", same)
    assert "one picture in two classes" in run(folder, "--name", "directions").output
    same.unlink()
    assert "no name for a model" in run(folder, "--name", "Up & down").output
    assert "name of something else" in run(folder, "--name", "clothing").output
    assert "name of something else" in run(folder, "--name", "roll_degrees").output
    for name, told in (("<b>", "no name for a class"), ("Down", "names alike")):
        (folder / name).mkdir()
        assert told in run(folder, "--name", "directions").output
        (folder / name).rmdir()
    for person in list((folder / "down").iterdir())[1:]:
        shutil.rmtree(person)
    assert "two or more people" in run(folder, "--name", "directions").output
    shutil.rmtree(folder / "down")
    assert "2 to 8" in run(folder, "--name", "directions").output


@pytest.mark.parametrize("classes", [2, 3])
def test_a_head_is_scikit_learns_on_the_standardised_features(classes: int) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(30) % classes
    features = generator.normal(labels[:, None], 2, (30, 70)).astype(np.float32)
    features[:, 5] = 1.0  # a feature that says nothing
    weights, bias = fit_head(features, labels, 50.0, classes)
    ours = softmax(features @ weights.T + bias)
    regression = LogisticRegression(C=50.0 / 70, tol=1e-9, max_iter=9999)
    plain = make_pipeline(StandardScaler(), regression).fit(features, labels)
    assert ours == pytest.approx(plain.predict_proba(features), abs=2e-3)


def test_an_interval_over_recordings_is_wider_than_over_their_samples() -> None:
    right = np.repeat([True, False, True, True, False, True, True, True], 10)
    together = group_interval(right, np.repeat(np.arange(8), 10))
    alone = group_interval(right, np.arange(80))
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])
