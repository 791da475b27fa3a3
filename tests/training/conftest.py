"""Give the training tests a data set and a recipe that are learned in a second."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPE = """
name = "tiny"
task = "expression"
seed = 1
purpose = "Shows that a killed training goes on."
not_for = "Anything else."
answers = "original"
minimum_certainty = 0.85
[data]
folder = "{folder}"
channels = 1
size = 24
stored_size = 24
source = "made by the test"
licence = "none"
[heads.original]
targets = "labels"
label_smoothing = 0.1
[network]
name = "plain"
[network.options]
widths = [8, 16]
depths = [1, 1]
dropout = 0.3
[schedule]
epochs = 6
batch = 8
learning_rate = 0.1
average = 0.9
sizes = [[0.5, 16], [1.0, 24]]
precision = "mixed_bfloat16"
checkpoint_seconds = 0.0
[augmentation]
rotation = 10
gamma = 0.5
erasing = 0.3
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe for made pictures whose left half is dark in one class."""
    random = np.random.default_rng(0)
    for part, count in (("train", 40), ("validation", 20)):
        for name, share in (("happy", 1.0), ("sad", 0.6)):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture = random.integers(0, 256, (24, 24)).astype(np.float64)
                picture[:, :12] *= share
                Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(folder=tmp_path / "data"))
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the smoke scale's bodies as a folder of RAUT_PRETRAINED, random ones."""
    import keras

    folder = tmp_path_factory.mktemp("pretrained")
    for build in (keras.applications.VGG16, keras.applications.Xception):
        path = folder / f"{build.__name__.lower()}.weights.h5"
        build(include_top=False, weights=None).save_weights(path)
    return folder


@pytest.fixture
def pretrained(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAUT_PRETRAINED", str(weights))
