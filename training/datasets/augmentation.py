"""Augment training pictures at random, a batch at a time.

Every change is sampled from a seed of two integers (the run's and the step's), so that a resumed
run sees exactly what an uninterrupted one sees.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from scipy.fft import dct

from training.recipe import Augmentation

BLOCK = 8  # side of the blocks that a JPEG is made of
# The orthonormal cosine transform of one row, and the standard's table for luminance.
COSINES = dct(np.eye(BLOCK), axis=0, norm="ortho")
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)


def augment(settings: Augmentation, pictures: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Change a batch of pictures.

    `pictures` is uint8 (batch, side, side, channels), `seed` int32 (2,). Returns uint8
    (batch, size, size, channels).
    """
    sample = _Sampler(seed, tf.shape(pictures)[0])
    x = _move(settings, pictures, size, sample)
    x = tf.cast(x, tf.float32)
    if settings.blur:
        small = tf.image.resize(x, (size // 2, size // 2), method="area")
        x = tf.where(sample.chosen(settings.blur), tf.image.resize(small, (size, size)), x)
    if settings.grey and x.shape[-1] == 3:
        weights = tf.constant([0.299, 0.587, 0.114])
        luma = tf.reduce_sum(x * weights, axis=-1, keepdims=True)
        x = tf.where(sample.chosen(settings.grey), luma, x)
    x = _relight(settings, x, sample)
    if settings.compression:
        x = tf.where(sample.chosen(settings.compression), _compress(x, size, sample), x)
    if settings.noise:
        deviation = sample.uniform(0.0, settings.noise)
        x += deviation * tf.random.stateless_normal(tf.shape(x), sample.next_seed())
    if settings.erasing:
        x = _erase(settings, x, size, sample)
    return tf.cast(tf.clip_by_value(tf.round(x), 0.0, 255.0), tf.uint8)


def _move(settings: Augmentation, pictures: tf.Tensor, size: int, sample: _Sampler) -> tf.Tensor:
    side = tf.cast(tf.shape(pictures)[1], tf.float32)
    angle = sample.uniform(-settings.rotation, settings.rotation)[:, 0, 0, 0] * (math.pi / 180)
    zoom = sample.uniform(*settings.scale)[:, 0, 0, 0] * side / size
    mirror = tf.where(sample.chosen(0.5 if settings.flip else 0.0), -1.0, 1.0)[:, 0, 0, 0]
    cosine, sine = tf.cos(angle) * zoom, tf.sin(angle) * zoom
    middle_in, middle_out = (side - 1) / 2, (size - 1) / 2
    shift_x = sample.uniform(-settings.shift, settings.shift)[:, 0, 0, 0] * side
    shift_y = sample.uniform(-settings.shift, settings.shift)[:, 0, 0, 0] * side
    # Rows map an output pixel to the input pixel it shows.
    a, b, d, e = cosine * mirror, -sine, sine * mirror, cosine
    c = middle_in + shift_x - (a + b) * middle_out
    f = middle_in + shift_y - (d + e) * middle_out
    zero = tf.zeros_like(a)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=pictures,
        transforms=tf.stack([a, b, c, d, e, f, zero, zero], axis=1),
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )


def _relight(settings: Augmentation, x: tf.Tensor, sample: _Sampler) -> tf.Tensor:
    if settings.gamma:
        limit = math.log(1 + settings.gamma)
        x = 255.0 * (x / 255.0) ** tf.exp(sample.uniform(-limit, limit))
    if settings.contrast:
        mean = tf.reduce_mean(x, axis=(1, 2, 3), keepdims=True)
        x = mean + (x - mean) * sample.uniform(1 - settings.contrast, 1 + settings.contrast)
    return x


def _erase(settings: Augmentation, x: tf.Tensor, size: int, sample: _Sampler) -> tf.Tensor:
    """Cover a rectangle with noise.

    Source: Zhong et al., "Random erasing data augmentation" (2020), algorithm 1.
    """
    rows = tf.range(size, dtype=tf.float32)[None, :, None, None] / size
    columns = tf.range(size, dtype=tf.float32)[None, None, :, None] / size
    height, width = sample.uniform(0.1, 0.45), sample.uniform(0.1, 0.45)
    top, left = sample.uniform(0.0, 1.0) - height / 2, sample.uniform(0.0, 1.0) - width / 2
    inside = (rows >= top) & (rows < top + height)
    inside &= (columns >= left) & (columns < left + width)
    noise = tf.random.stateless_uniform(tf.shape(x), sample.next_seed(), 0.0, 255.0)
    return tf.where(inside & sample.chosen(settings.erasing), noise, x)


def _compress(x: tf.Tensor, size: int, sample: _Sampler) -> tf.Tensor:
    """Lose what a JPEG loses: round the cosine transform of blocks, each channel as luma.

    `x` is float32 (batch, size, size, channels), 0 to 255, as is the result. The table and its
    scaling by quality are those of the standard (ITU-T T.81, annex K.1) and of libjpeg.
    """
    channels, blocks = x.shape[-1], math.ceil(size / BLOCK)
    padding = blocks * BLOCK - size
    padded = tf.pad(x, [[0, 0], [0, padding], [0, padding], [0, 0]], "SYMMETRIC")
    split = tf.reshape(padded - 128.0, [-1, blocks, BLOCK, blocks, BLOCK, channels])
    split = tf.transpose(split, [0, 1, 3, 5, 2, 4])
    quality = sample.uniform(10.0, 60.0)[..., None, None]
    scale = tf.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    table = tf.maximum(1.0, tf.round(LUMINANCE * scale))
    transform = tf.constant(COSINES, tf.float32)
    coefficients = transform @ split @ tf.transpose(transform)
    kept = tf.round(coefficients / table) * table
    restored = tf.transpose(tf.transpose(transform) @ kept @ transform, [0, 1, 4, 2, 5, 3])
    side = blocks * BLOCK
    return tf.reshape(restored, [-1, side, side, channels])[:, :size, :size] + 128.0


class _Sampler:
    def __init__(self, seed: tf.Tensor, batch: tf.Tensor) -> None:
        self.seed = seed
        self.batch = batch
        self.count = 0

    def next_seed(self) -> tf.Tensor:
        """Return the series' next seed, int32 (2,)."""
        self.count += 1
        return tf.random.experimental.stateless_fold_in(self.seed, self.count)

    def uniform(self, low: float, high: float) -> tf.Tensor:
        """Return float32 (batch, 1, 1, 1) between low and high."""
        return tf.random.stateless_uniform([self.batch, 1, 1, 1], self.next_seed(), low, high)

    def chosen(self, share: float) -> tf.Tensor:
        """Return bool (batch, 1, 1, 1), true for that share of pictures on average."""
        return self.uniform(0.0, 1.0) < share
