from pathlib import Path

import numpy as np
import pytest

from tests.training.recipes import list_arrays, write_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe and its pictures, for one test to change."""
    return write_recipe(tmp_path)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the smoke scale's bodies as a folder of RAUT_PRETRAINED, random ones."""
    import keras

    from training.fit.pretrained import _build_lite0

    folder = tmp_path_factory.mktemp("pretrained")
    for build in (keras.applications.VGG16, keras.applications.Xception):
        path = folder / f"{build.__name__.lower()}.weights.h5"
        build(include_top=False, weights=None).save_weights(path)
    body = _build_lite0(include_top=False, weights=None)
    np.savez(folder / "efficientnetlite0.npz", allow_pickle=False, **list_arrays(body))
    return folder


@pytest.fixture
def pretrained(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAUT_PRETRAINED", str(weights))
