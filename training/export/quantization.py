"""Compute a finished network's convolutions in 8-bit integers, where that loses nothing."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

LARGEST_LOSS = 0.002  # of a head's accuracy: an answer in five hundred
QUANTIZED = ["Conv", "Relu", "MaxPool"]
PICTURES = 512  # about as many show how far each layer's answers go
# Each batch tells how far, and the mean of the batches counts: the farthest of all answers would
# make every step coarser.
BATCH = 32


def quantize(exact: Path, quantized: Path, pictures: np.ndarray) -> None:
    """Write an ONNX file's network with 8-bit convolutions into another ONNX file.

    How far each layer's answers go is found on `pictures`, uint8 (count, size, size, channels).
    Weights have a scale for each channel and take 7 bits: processors without integer dot products
    (AVX2) add pairs in 16 bits, which 8-bit weights overflow. Heads stay in single precision.
    Source: Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference" (2018), section 2; ONNX Runtime's documentation for 7 bits.
    """
    with tempfile.TemporaryDirectory() as aside:
        prepared = Path(aside) / exact.name
        quant_pre_process(exact, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            _Batches(exact, pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTIZED,
            per_channel=True,
            reduce_range=True,
            extra_options={"CalibMovingAverage": True},
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def loses(accuracies: dict[str, dict[str, float]]) -> bool:
    """Tell whether any head answers worse by more than `LARGEST_LOSS`."""
    return any(each["exact"] - each["quantized"] > LARGEST_LOSS for each in accuracies.values())


class _Batches(CalibrationDataReader):
    def __init__(self, model: Path, pictures: np.ndarray) -> None:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        self._batches: Iterator[dict[str, np.ndarray]] = iter(
            [{name: pictures[at : at + BATCH]} for at in range(0, len(pictures), BATCH)]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch as the network's inputs; None after the last."""
        return next(self._batches, None)
