"""Make a finished network lighter to serve, with the same answers in every form of it; and back."""

from functools import partial
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import keras
import numpy as np
import onnx
from onnx import helper, numpy_helper

from app.files import atomic_write
from training.evaluate.network import choose_batch

WITH_KERNELS = (keras.layers.Conv2D, keras.layers.SeparableConv2D, keras.layers.Dense)
SMALLEST_COMPRESSED = 1024  # values; the saving on a smaller tensor isn't worth a node


def fold_normalization(network: keras.Model, folded: keras.Model) -> None:
    """Give a network without batch normalisation the weights of one that has it.

    Each normalisation scales and shifts its convolution's channels, which the convolution's last
    kernel and its bias can do. The kernels are rounded to what half precision holds, so that
    the file of half the size has the very same weights.
    """
    learned: dict[str, list[np.ndarray]] = {}  # layer → its kernels, and its bias
    for layer in network.layers:
        if isinstance(layer, WITH_KERNELS):
            learned[layer.name] = [np.asarray(weight, np.float32) for weight in layer.weights]
            if not layer.use_bias:
                channels = layer.weights[-1].shape[-1]
                learned[layer.name].append(np.zeros(channels, np.float32))
        elif isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = (np.asarray(w, np.float32) for w in layer.weights)
            scale = gamma / np.sqrt(variance + layer.epsilon)
            weights = learned[layer.input._keras_history.operation.name]
            kernel, bias = weights[-2:]
            weights[-2:] = [kernel * scale, beta + (bias - mean) * scale]
    targets = [layer for layer in folded.layers if isinstance(layer, WITH_KERNELS)]
    for layer, (*kernels, bias) in zip(targets, learned.values(), strict=True):
        layer.set_weights(
            [*(kernel.astype(np.float16).astype(np.float32) for kernel in kernels), bias]
        )


def unfold_normalization(folded: keras.Model, network: keras.Model, pictures: np.ndarray) -> None:
    """Give a network with batch normalisation the body of one whose convolutions have it folded in.

    Both give the same features then. What is normalised, and how far, is measured on `pictures`,
    uint8 (count, size, size, channels). Each channel's kernel gets length 1, from which it learns
    on as a new one would: the normalisation takes the length away. Heads stay as they are. Raises
    `ValueError` where the bodies differ.
    """
    bodies = [_list_body(model) for model in (folded, network)]
    kernels = [[layer.weights[0].shape for layer in body] for body in bodies]
    if kernels[0] != kernels[1]:
        raise ValueError("The two networks have different bodies.")
    following = {
        layer.input._keras_history.operation.name: layer
        for layer in network.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    pairs = list(zip(bodies[1], bodies[0], strict=True))
    normalized = [learned for layer, learned in pairs if layer.name in following]
    moments = _measure_moments(folded, normalized, pictures)
    for layer, learned in pairs:
        *first, kernel, bias = (np.asarray(weight, np.float32) for weight in learned.weights)
        if layer.name not in following:
            layer.set_weights([*first, kernel, bias])
            continue
        normalization, (mean, variance) = following[layer.name], moments[learned.name]
        length = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)
        length = np.where(length > 0, length, 1.0)  # a channel may have been rounded away
        variance = variance / length**2
        scale = length * np.sqrt(variance + normalization.epsilon)
        layer.set_weights([*first, kernel / length, *([bias / length] if layer.use_bias else [])])
        left = 0.0 if layer.use_bias else bias  # what the convolution itself doesn't add
        normalization.set_weights([scale, mean, (mean - left) / length, variance])


def _measure_moments(
    network: keras.Model, layers: list[keras.layers.Layer], pictures: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the mean and the variance of each layer's channels over pictures, by its name."""
    if not layers:
        return {}
    # Averaged over each picture in the graph: all answers of a large network would fill memory.
    pooled = [
        keras.ops.mean(power, axis=(1, 2))
        for layer in layers
        for power in (layer.output, keras.ops.square(layer.output))
    ]
    batch = choose_batch(pictures)
    answers = keras.Model(network.inputs, pooled).predict(pictures, batch_size=batch, verbose=0)
    means = [answer.mean(axis=0) for answer in answers]
    return {
        layer.name: (mean, np.maximum(square - mean**2, 0.0))
        for layer, mean, square in zip(layers, means[::2], means[1::2], strict=True)
    }


def _list_body(network: keras.Model) -> list[keras.layers.Layer]:
    """List the layers with kernels that are no head."""
    heads = set(network.output_names)
    return [
        layer
        for layer in network.layers
        if isinstance(layer, WITH_KERNELS) and layer.name not in heads
    ]


def pack(path: Path) -> None:
    """Rewrite a `.keras` file so that its zeros take no room; kernels in half precision have many.

    Keras puts weights into its ZIP files as they are.
    """
    with ZipFile(path) as loose:
        atomic_write(path, partial(_pack, loose))


def _pack(loose: ZipFile, stream: IO[bytes]) -> None:
    """Write a ZIP file's members into a stream, compressed."""
    with ZipFile(stream, "w", ZIP_DEFLATED) as packed:
        for member in loose.infolist():
            copy = ZipInfo(member.filename, member.date_time)
            packed.writestr(copy, loose.read(member), ZIP_DEFLATED)


def store_half_precision(path: Path) -> None:
    """Rewrite an ONNX file so that tensors which half precision holds exactly take half the bytes.

    They are cast back when the file is loaded; computing stays in single precision.
    """
    model = onnx.load(path)
    graph = model.graph
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16) if values.dtype == np.float32 else None
        if half is None or half.size < SMALLEST_COMPRESSED or (half != values).any():
            continue
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(half, f"{tensor.name}_half"))
        cast = helper.make_node(
            "Cast", [f"{tensor.name}_half"], [tensor.name], to=onnx.TensorProto.FLOAT
        )
        graph.node.insert(0, cast)
    onnx.checker.check_model(model)
    onnx.save(model, path)
