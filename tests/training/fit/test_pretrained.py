import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.vision.imaging.crops import CropShape
from app.vision.models.onnx_network import OnnxNetwork
from tests.training.recipes import list_arrays, make_pictures
from training.datasets.loading import Split, read_split
from training.evaluate.network import run_network
from training.export import exporting
from training.fit import pretrained
from training.recipe import DataError, RecipeError

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own

SIZE = 32


@pytest.fixture(autouse=True)
def _forgotten_bodies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAUT_PRETRAINED", str(tmp_path))
    caches = (pretrained.load_base, pretrained._freeze)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def split(tmp_path: Path) -> Split:
    make_pictures(tmp_path / "data", 2, ("one", "two"))
    return read_split(tmp_path, "data", CropShape(SIZE, 3))


def show_input(include_top: bool, weights: str | None) -> keras.Model:
    """Build a body that gives back what it is given."""
    assert not include_top
    assert weights == "imagenet"
    crops = keras.Input((None, None, 3))
    return keras.Model(crops, keras.layers.Identity()(crops))


@pytest.mark.parametrize("name", sorted(pretrained.APPLICATIONS.keys() - pretrained.FROM_TORCH))
def test_a_body_is_given_pictures_as_its_paper_has_them(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    build, mode = pretrained.APPLICATIONS[name]
    monkeypatch.setitem(pretrained.APPLICATIONS, name, (show_input, mode))
    given = pretrained.compute_features(split, name, 0, False, tmp_path).pictures
    expected = sys.modules[build.__module__].preprocess_input(split.pictures.astype(np.float32))
    assert given == pytest.approx(expected, rel=2e-3, abs=2e-3)  # kept in half precision


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch", "unit"])
def test_an_exported_body_preprocesses_pictures_as_the_fitted_one(
    split: Split, tmp_path: Path, mode: str
) -> None:
    crops = keras.Input((SIZE, SIZE, 3), dtype="uint8", name="crop")
    preprocessing = keras.Model(crops, {"pixels": pretrained._preprocess(crops, mode)})
    expected = preprocessing.predict(split.pictures, verbose=0)["pixels"]
    exporting._export_onnx(preprocessing, tmp_path / "model.onnx")
    exported = run_network(
        OnnxNetwork((tmp_path / "model.onnx").read_bytes(), threads=1), split.pictures
    )["pixels"]
    # Constants are stored in half precision.
    assert exported == pytest.approx(expected, rel=2e-3, abs=0.1)


def test_resnet50_answers_alike_wherever_the_study_cuts_it(split: Split, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    body = keras.applications.ResNet50(include_top=False, weights=None)
    body.save_weights(tmp_path / "resnet50.weights.h5")
    whole = pretrained.compute_features(split, "resnet50", 0, True, tmp_path).pictures
    for fitted in (10, 32):  # one and three blocks
        frozen = pretrained.compute_features(split, "resnet50", fitted, False, tmp_path).pictures
        head: dict[str, Any] = {"pooling": "average", "dense": []}
        options = pretrained.head_options("resnet50", SIZE, fitted, False, **head)
        inputs = keras.Input(options["shape"])
        upper = keras.Model(inputs, pretrained.backbone_head(inputs, None, **options))
        assert upper.predict(frozen, verbose=0) == pytest.approx(whole, rel=0.02, abs=0.02)
    with pytest.raises(DataError, match="a shortcut passes there"):
        pretrained.compute_features(split, "resnet50", 5, False, tmp_path)


def answer_alike(body: keras.Model, name: str, size: int) -> tuple[int, ...]:
    """Assert that the body answers as the one that is loaded; return the answer's shape."""
    picture = np.random.default_rng(1).random((1, size, size, 3), np.float32)
    loaded = pretrained.load_base(name, "float32")
    answers = [network.predict(picture, verbose=0) for network in (body, loaded)]
    np.testing.assert_array_equal(*answers)
    shape: tuple[int, ...] = answers[0].shape
    return shape


def test_resnet18_takes_the_weights_that_torchvision_publishes(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    body = pretrained._build_resnet18(include_top=False, weights=None)
    kept = list_arrays(body)
    # As torchvision names and shapes them, a count of classes' layer apart.
    assert kept["conv1.weight"].shape == (64, 3, 7, 7)
    assert kept["layer2.0.downsample.0.weight"].shape == (128, 64, 1, 1)
    assert kept["layer4.1.bn2.running_var"].shape == (512,)
    assert sum(value.size for value in kept.values()) == 11_176_512 + 9_600  # with moments
    np.savez(tmp_path / "resnet18.npz", allow_pickle=False, **kept)
    assert answer_alike(body, "resnet18", SIZE) == (1, 1, 1, 512)


def test_efficientnet_lite0_takes_the_weights_of_its_package(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    body = pretrained._build_lite0(include_top=False, weights=None)
    kept = list_arrays(body)
    # As the package names and shapes them.
    assert kept["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert kept["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)
    assert kept["_bn1.running_var"].shape == kept["_conv_head.weight"].shape[:1] == (1280,)
    assert sum(value.size for value in kept.values()) == 3_413_024
    np.savez(tmp_path / "efficientnetlite0.npz", allow_pickle=False, **kept)
    assert answer_alike(body, "efficientnetlite0", 64) == (1, 2, 2, 1280)


def test_an_efficientnet_s_kept_weights_standardize_as_its_own_download_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The smallest of the family, with the moments that the published files hold.
    small = keras.applications.EfficientNetB0
    monkeypatch.setitem(pretrained.APPLICATIONS, "efficientnetb6", (small, "none"))
    deviations = np.array([0.229, 0.224, 0.225], np.float32)
    means = np.array([0.485, 0.456, 0.406], np.float32)
    body = small(include_top=False, weights=None)
    moments = next(x for x in body.layers if isinstance(x, keras.layers.Normalization))
    moments.adapt_mean.assign(means)
    moments.adapt_variance.assign(deviations)
    body.save_weights(tmp_path / "efficientnetb6.weights.h5")

    loaded = pretrained.load_base("efficientnetb6", "float32")
    last = next(x for x in loaded.layers if isinstance(x, keras.layers.Normalization))
    picture = np.random.default_rng(1).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.float32)
    standardized = keras.Model(loaded.inputs, last.output).predict(picture, verbose=0)
    assert standardized == pytest.approx((picture / 255 - means) / deviations, abs=1e-4)


@pytest.mark.parametrize("option", ["last", "learned_from"])
def test_a_layer_that_a_body_lacks_is_told_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    def build(**_: object) -> keras.Model:
        crops = keras.Input((None, None, 3))
        return keras.Model(crops, keras.layers.Conv2D(2, 1, name="block1_conv1")(crops))

    monkeypatch.setitem(pretrained.APPLICATIONS, "vgg16", (build, "caffe"))
    layers = {"last": "block1_conv1", "learned_from": "block1_conv1", option: "block_conv"}
    with pytest.raises(RecipeError, match=f"{option}: there is no 'block_conv' here. Did you mean"):
        pretrained.truncated_backbone(keras.Input((SIZE, SIZE, 3)), None, "vgg16", **layers)
