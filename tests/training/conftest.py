from pathlib import Path

import pytest

from tests.training.recipes import write_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe and its pictures, for one test to change."""
    return write_recipe(tmp_path)


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
