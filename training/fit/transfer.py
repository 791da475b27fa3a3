"""Carry weights from one network to another, with batch normalisation or with it folded in."""

from pathlib import Path

import keras
import numpy as np

from app.vision.models.cards import CARD
from app.vision.models.classifiers import load_classifier
from app.vision.models.keras_network import KerasNetwork
from training.datasets.loading import shape_pictures
from training.evaluate.network import choose_batch
from training.evaluate.speed import WITH_KERNELS
from training.recipe import RecipeError
from training.runs import load_run


def load_backbone(network: keras.Model, start: Path, pictures: np.ndarray) -> None:
    """Load the weights of a finished run's or a model's network, except for the heads.

    Batch normalisation that a model has folded away is recovered on `pictures`. Raises
    `RecipeError` if the bodies or crops differ, `ModelError` for an invalid model.
    """
    other_body = RecipeError(
        f"network.init_from: the network in {start} has another body. Take the same network and "
        "options, and as many channels."
    )
    if (start / CARD).is_file():
        model = load_classifier(start, "keras")
        assert isinstance(model.network, KerasNetwork)
        if model.card.channels != pictures.shape[-1]:
            raise other_body
        crops = shape_pictures(pictures, model.card.shape)
        try:
            return unfold_normalization(model.network.model, network, crops)
        except ValueError as error:
            raise other_body from error
    _, finished = load_run(start)
    heads = {*network.output_names, *finished.output_names}
    bodies = [
        [weight for layer in model.layers if layer.name not in heads for weight in layer.weights]
        for model in (network, finished)
    ]
    shapes = [[weight.shape for weight in body] for body in bodies]
    if shapes[0] != shapes[1]:
        raise other_body
    for weight, value in zip(*bodies, strict=True):
        weight.assign(value)


def fold_normalization(network: keras.Model, folded: keras.Model) -> None:
    """Fold a network's batch normalisation into the weights of one without it.

    Each normalisation scales and shifts its convolution's channels, which the convolution's last
    kernel and its bias can do. Kernels are rounded to half precision, so that a file of half the
    size has the same weights.
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
        rounded = (kernel.astype(np.float16).astype(np.float32) for kernel in kernels)
        layer.set_weights([*rounded, bias])


def unfold_normalization(folded: keras.Model, network: keras.Model, pictures: np.ndarray) -> None:
    """Load the body of a folded network into one with batch normalisation.

    Both then give the same features. The moments are measured on `pictures`, uint8 (count, size,
    size, channels). Each channel's kernel gets norm 1, as a new one has about: the normalisation
    takes the norm away. Heads stay as they are. Raises `ValueError` if the bodies differ.
    """
    bodies = [
        [
            layer
            for layer in model.layers
            if isinstance(layer, WITH_KERNELS) and layer.name not in model.output_names
        ]
        for model in (folded, network)
    ]
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
