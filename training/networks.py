"""Build the networks, each under its name in one registry.

A network takes the raw uint8 crop and gives logits: rescaling and standardising are layers
inside it, so that nobody can feed it wrongly.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import layers

Builder = Callable[..., keras.KerasTensor]
NETWORKS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Enter a body's builder in the registry under a name that recipes use."""

    def enter(builder: Builder) -> Builder:
        NETWORKS[name] = builder
        return builder

    return enter


class FusedBatchNormalization(layers.BatchNormalization):
    """Normalise batches in one fused operation while training.

    Keras composes batch normalisation of small operations, which on a processor takes as long
    as the convolutions around it. Variables and answers are those of the parent, so that a
    network for serving is built with the parent and takes over the weights.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        """Normalise by the batch's moments in training, by the moving ones otherwise."""
        if not training:
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
    name: str,
    channels: int,
    heads: dict[str, int],
    options: dict[str, Any],
    size: int | None = None,
    for_training: bool = False,
) -> keras.Model:
    """Build a network from the registry.

    `heads` gives each head's number of classes, `options` goes to the body's builder. Without
    `size` the network takes crops of any size. Takes uint8 (batch, size, size, channels) and
    gives a dict: head → float32 logits (batch, classes). With `for_training` it is faster to
    fit; its weights fit the network for serving and the other way round.
    """
    inputs = keras.Input((size, size, channels), dtype="uint8", name="crop")
    normalization = FusedBatchNormalization if for_training else layers.BatchNormalization
    features = NETWORKS[name](_standardize(inputs), normalization=normalization, **options)
    logits = {
        head: layers.Dense(classes, dtype="float32", name=head)(features)
        for head, classes in heads.items()
    }
    return keras.Model(inputs, logits, name=name)


def _standardize(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Take each picture's own mean away and divide by its own deviation.

    One group over all channels keeps the colours' relation; light and contrast of the photo go.
    """
    scaled = layers.Rescaling(1 / 255)(inputs)
    return layers.GroupNormalization(groups=1, center=False, scale=False, epsilon=1e-4)(scaled)


@register("plain")
def plain(
    inputs: keras.KerasTensor,
    normalization: type[layers.Layer],
    widths: list[int],
    depths: list[int],
    dropout: float,
) -> keras.KerasTensor:
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
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = normalization(momentum=0.9)(x)
            x = layers.ReLU()(x)
    return layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))


@register("compact")
def compact(
    inputs: keras.KerasTensor, normalization: type[layers.Layer], widths: list[int], dropout: float
) -> keras.KerasTensor:
    """Answer dozens of small squares in a few milliseconds, and keep where things are.

    A 5x5 convolution halves the picture at once; of each further stage the first convolution
    halves it and the second doesn't. The last map is flattened, not averaged, because a place
    can't be told from an average.
    """
    x = inputs
    for stage, width in enumerate(widths):
        for step in range(1 if stage == 0 else 2):
            size, stride = (5, 2) if stage == 0 else (3, 2 - step)
            x = layers.Conv2D(width, size, strides=stride, padding="same", use_bias=False)(x)
            x = normalization(momentum=0.9)(x)
            x = layers.ReLU()(x)
    return layers.Dropout(dropout)(layers.Flatten()(x))
