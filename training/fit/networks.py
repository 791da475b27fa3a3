"""Build the networks of the registry.

A network takes the raw uint8 crop and gives logits: rescaling and standardising are layers inside
it. Exceptions are in `training.fit.pretrained`: a head on a frozen backbone takes the backbone's
features, and a pretrained body preprocesses the crop in its own way.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import KerasTensor, layers

from training.recipe import Network, Recipe, RecipeError, find_nearest

Normalization = type[layers.Layer] | None
Builder = Callable[..., KerasTensor]
Inputs = Callable[[dict[str, Any], int | None], KerasTensor]
NETWORKS: dict[str, Builder] = {}
# Inputs of bodies that don't take standardised crops: options, side (None: any) → inputs.
INPUTS: dict[str, Inputs] = {}
RESCALED: set[str] = set()  # bodies that take crops divided by 255, not standardised ones


def register(
    name: str, inputs: Inputs | None = None, rescaled: bool = False
) -> Callable[[Builder], Builder]:
    """Register a body's builder under the name that recipes use."""

    def enter(builder: Builder) -> Builder:
        NETWORKS[name] = builder
        if inputs:
            INPUTS[name] = inputs
        if rescaled:
            RESCALED.add(name)
        return builder

    return enter


def check_network(network: Network) -> None:
    """Raise `RecipeError` for an unknown network or option, naming the most similar one."""
    chosen = network.name
    if chosen not in NETWORKS:
        near = find_nearest(chosen, NETWORKS)
        raise RecipeError(f"network.name: there is no network {chosen!r}. Did you mean {near!r}?")
    parameters = inspect.signature(NETWORKS[chosen]).parameters
    options = {n: p for n, p in parameters.items() if n not in ("inputs", "normalization")}
    for name in network.options.keys() - options.keys():
        near = f"there is no such option of {chosen}. Did you mean {find_nearest(name, options)!r}?"
        raise RecipeError(f"network.options.{name}: {near}")
    for name, option in options.items():
        if option.default is option.empty and name not in network.options:
            raise RecipeError(f"network.options.{name} is missing: {chosen} needs it.")


@contextmanager
def compute_in(precision: str) -> Iterator[None]:
    """Let the layers that are built inside the `with` block compute in a precision.

    `precision` is "float32", or "mixed_bfloat16" with weights kept in float32.
    """
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


class FusedBatchNormalization(layers.BatchNormalization):
    """Normalise batches in one fused operation while training.

    Keras composes batch normalisation of small operations, which on a CPU takes as long as the
    convolutions around it. Variables and outputs are those of the parent class, with which the
    network for serving is built.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        """Normalise by the batch's moments in training, else by the moving ones."""
        if not (training and self.trainable):
            return super().call(inputs, training=False, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs


def build_network(
    recipe: Recipe,
    classes: Mapping[str, Sequence[str]],
    normalization: Normalization = layers.BatchNormalization,
    any_size: bool = False,
) -> keras.Model:
    """Build a recipe's network from the registry, with the `classes` of each head.

    Takes uint8 (batch, size, size, channels) and returns a dict: head → float32 logits (batch,
    classes), or (batch, height, width, classes) of a body that keeps its map.
    `FusedBatchNormalization` trains faster than the default, with the same weights; None
    is for networks whose normalisation is folded into the convolutions.
    """
    name, options = recipe.network.name, recipe.network.options
    size = None if any_size else recipe.data.size
    if name in INPUTS:
        inputs = body_inputs = INPUTS[name](options, size)
    else:
        inputs = keras.Input((size, size, recipe.data.channels), dtype="uint8", name="crop")
        body_inputs = layers.Rescaling(1 / 255)(inputs)
        if name not in RESCALED:
            # Each picture's own mean and deviation go, and with them light and contrast. One group
            # over all channels keeps the colours' relation.
            standardize = {"groups": 1, "center": False, "scale": False, "epsilon": 1e-4}
            body_inputs = layers.GroupNormalization(**standardize)(body_inputs)
    features = NETWORKS[name](body_inputs, normalization=normalization, **options)
    # A body that keeps its map gets heads for each position of it.
    head_of = layers.Dense if features.ndim == 2 else partial(layers.Conv2D, kernel_size=1)
    logits = {
        head: head_of(len(names), dtype="float32", name=head)(features)
        for head, names in classes.items()
    }
    return keras.Model(inputs, logits, name=name)


def _convolve(
    normalization: Normalization, x: KerasTensor, width: int, kernel: int, stride: int = 1
) -> KerasTensor:
    bias = normalization is None
    x = layers.Conv2D(width, kernel, stride, padding="same", use_bias=bias)(x)
    return normalization(momentum=0.9)(x) if normalization else x


@register("vgg")
def vgg(
    inputs: KerasTensor,
    normalization: Normalization,
    widths: list[int],
    depths: list[int],
    dropout: float,
) -> KerasTensor:
    """Stack plain 3x3 convolutions in stages, halving the picture between them.

    Source: Simonyan and Zisserman, "Very deep convolutional networks" (2015), section 2, with
    batch normalisation and global average pooling in place of the dense layers. `widths` and
    `depths` give each stage's channels and convolutions.
    """
    x = inputs
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            x = layers.MaxPooling2D(2)(x)
        for _ in range(depth):
            x = layers.ReLU()(_convolve(normalization, x, width, 3))
    return layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))


@register("dense", rescaled=True)
def dense(
    inputs: KerasTensor,
    normalization: Normalization,
    widths: list[int],
    kernels: list[int],
    strides: list[int],
    paddings: list[int],
    pools: list[int],
    dense: list[int],
    dropout: float,
    normalized: bool = False,
    pooled_dropout: float = 0.0,
) -> KerasTensor:
    """Stack convolutions with max pooling and end in dense layers, as the studies' papers do.

    `widths`, `kernels`, `strides`, `paddings` and `pools` give each convolution's channels, side,
    stride, zeros around its input, and the side of the pooling after it (1: none), with
    `pooled_dropout` after that. `dense` gives the dense layers' widths, with `dropout` after each.
    Batches are normalised only if `normalized`.
    """
    x = inputs
    stages = zip(widths, kernels, strides, paddings, pools, strict=True)
    for width, kernel, stride, padding, pool in stages:
        x = layers.ZeroPadding2D(padding)(x) if padding else x
        x = layers.Conv2D(width, kernel, stride)(x)
        x = normalization()(x) if normalized and normalization else x
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D(pool)(x) if pool > 1 else x
        x = layers.Dropout(pooled_dropout)(x) if pooled_dropout else x
    x = layers.Flatten()(x)
    for width in dense:
        x = layers.Dropout(dropout)(layers.Dense(width, activation="relu")(x))
    return x


@register("resnet18")
def resnet18(
    inputs: KerasTensor, normalization: Normalization, widths: list[int], dropout: float
) -> KerasTensor:
    """Build the residual network of 18 layers with weights, as `resnet18_body` has it."""
    x = resnet18_body(inputs, normalization, widths)
    return layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))


def resnet18_body(
    inputs: KerasTensor, normalization: Normalization, widths: Sequence[int]
) -> KerasTensor:
    """Build ResNet18 up to its last map.

    Source: He et al., "Deep residual learning for image recognition" (2016), table 1 and option B
    for shortcuts. `widths` gives the channels of the four stages: 64, 128, 256 and 512 there.
    Layers are named and padded as in torchvision, whose weights fit.
    """

    def convolve(x: KerasTensor, width: int, kernel: int, stride: int, *names: str) -> KerasTensor:
        x = layers.ZeroPadding2D(kernel // 2)(x) if kernel > 1 else x
        bias = normalization is None
        x = layers.Conv2D(width, kernel, stride, use_bias=bias, name=names[0])(x)
        return normalization(momentum=0.9, epsilon=1e-5, name=names[1])(x) if normalization else x

    x = layers.ReLU()(convolve(inputs, widths[0], 7, 2, "conv1", "bn1"))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for stage, width in enumerate(widths):
        for block in range(2):
            stride, at = 2 if stage and not block else 1, f"layer{stage + 1}.{block}."
            down = (at + "downsample.0", at + "downsample.1")
            shortcut = x if stride == 1 else convolve(x, width, 1, stride, *down)
            x = layers.ReLU()(convolve(x, width, 3, stride, at + "conv1", at + "bn1"))
            x = convolve(x, width, 3, 1, at + "conv2", at + "bn2")
            x = layers.ReLU(name=at[:-1])(layers.Add()([x, shortcut]))
    return x


@register("compact")
def compact(
    inputs: KerasTensor, normalization: Normalization, widths: list[int], dropout: float
) -> KerasTensor:
    """Build a small network that keeps positions, for dozens of squares in a few milliseconds.

    A 5x5 convolution halves the picture at once; in each further stage the first of two
    convolutions does. The last map is flattened, because averaging would lose positions.
    """
    x = inputs
    for stage, width in enumerate(widths):
        for step in range(1 if stage == 0 else 2):
            size, stride = (5, 2) if stage == 0 else (3, 2 - step)
            x = layers.ReLU()(_convolve(normalization, x, width, size, stride))
    return layers.Dropout(dropout)(layers.Flatten()(x))


@register("fully_convolutional")
def fully_convolutional(
    inputs: KerasTensor, normalization: Normalization, widths: list[int]
) -> KerasTensor:
    """Stack 3x3 convolutions that keep the map, for pictures of any size.

    The first two halve the picture, so that a position of the map is 4 pixels wide.
    """
    x = inputs
    for step, width in enumerate(widths):
        x = layers.ReLU()(_convolve(normalization, x, width, 3, 2 if step < 2 else 1))
    return x
