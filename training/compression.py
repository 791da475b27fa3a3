"""Make a finished network lighter to serve, with the same answers in every form of it."""

from pathlib import Path

import keras
import numpy as np
import onnx
from onnx import helper, numpy_helper

SMALLEST_COMPRESSED = 1024  # values; the saving on a smaller tensor isn't worth a node


def fold_normalization(network: keras.Model, folded: keras.Model) -> None:
    """Give a network without batch normalisation the weights of one that has it.

    Each normalisation scales and shifts its convolution's channels, which the convolution's own
    kernel and bias can do. The kernels are rounded to what half precision holds, so that
    the file of half the size has the very same weights.
    """
    kernels: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    for layer in network.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            kernels.append(np.asarray(layer.kernel, np.float32))
            biases.append(
                np.zeros(layer.kernel.shape[-1], np.float32)
                if layer.bias is None
                else np.asarray(layer.bias, np.float32)
            )
        elif isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = (np.asarray(w, np.float32) for w in layer.weights)
            scale = gamma / np.sqrt(variance + layer.epsilon)
            kernels[-1] = kernels[-1] * scale
            biases[-1] = beta + (biases[-1] - mean) * scale
    targets = [
        layer
        for layer in folded.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
    ]
    for layer, kernel, bias in zip(targets, kernels, biases, strict=True):
        layer.set_weights([kernel.astype(np.float16).astype(np.float32), bias])


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
