"""Measure the size and the speed of a served model."""

import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from app.vision.models.classifiers import load_classifier
from app.vision.models.files import FILES, choose_file

WITH_KERNELS = (keras.layers.Conv2D, keras.layers.SeparableConv2D, keras.layers.Dense)
TIMED_FACES = 200


def measure_speed(folder: Path) -> dict[str, Any]:
    """Return a model's multiply-adds, parameters, bytes of its served file, and milliseconds.

    The time is the median over single faces, on one thread of this machine's processor.
    """
    classifier = load_classifier(folder, threads=1)
    model = keras.saving.load_model(folder / FILES["keras"], compile=False, safe_mode=True)
    shape = classifier.card.shape
    sides = (shape.size, shape.size, shape.channels)
    if model.input_shape[1:] != sides and classifier.head.targets == "boxes":
        model = keras.models.clone_model(model, keras.Input(sides, dtype="uint8"))
    crop = np.random.default_rng(0).integers(0, 256, (1, *sides), np.uint8)
    times = []
    for _ in range(TIMED_FACES):
        started = time.perf_counter()
        classifier.network.logits(crop)
        times.append(time.perf_counter() - started)
    return {
        "multiply_adds": count_multiply_adds(model),
        "parameters": model.count_params(),
        "bytes": (folder / FILES[choose_file("auto", classifier.card)]).stat().st_size,
        "milliseconds_per_face": round(float(np.median(times)) * 1000, 2),
    }


def count_multiply_adds(model: keras.Model) -> int:
    """Count the multiplications of convolutions and dense layers for one picture."""
    count = 0
    for layer in model.layers:
        if isinstance(layer, WITH_KERNELS):
            positions = int(np.prod(layer.output.shape[1:-1]))
            kernels = (weight for weight in layer.weights if weight is not layer.bias)
            count += positions * sum(int(np.prod(kernel.shape)) for kernel in kernels)
    return count
