"""Quantize a finished network's convolutions to 8-bit integers."""

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

LARGEST_LOSS = 0.002  # of a head's accuracy: one prediction in five hundred
QUANTIZED = ["Conv", "Relu", "MaxPool"]
PICTURES = 512  # for the ranges of the activations
# The ranges are averaged over batches: the range of all pictures would make every step coarser.
BATCH = 32


def quantize(exact: Path, quantized: Path, pictures: np.ndarray) -> None:
    """Write an ONNX file's network with 8-bit convolutions into another ONNX file.

    Activation ranges are measured on `pictures`, uint8 (count, size, size, channels). Weights have
    a scale per channel and 7 bits: processors without integer dot products (AVX2) add pairs in 16
    bits, which 8-bit weights overflow. Heads stay in single precision.
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


def drops(accuracies: dict[str, dict[str, float]]) -> bool:
    """Return whether any head's accuracy drops by more than `LARGEST_LOSS`."""
    return any(each["exact"] - each["quantized"] > LARGEST_LOSS for each in accuracies.values())


class _Batches(CalibrationDataReader):
    def __init__(self, model: Path, pictures: np.ndarray) -> None:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        name, starts = session.get_inputs()[0].name, range(0, len(pictures), BATCH)
        self._batches = iter([{name: pictures[at : at + BATCH]} for at in starts])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next batch as the network's inputs; None after the last."""
        return next(self._batches, None)
