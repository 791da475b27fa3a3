"""Extract a network's first filters and the feature maps of a crop."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.vision.models.cards import Card
from app.vision.models.files import FILES, read_verified

POOLING = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "ReduceMean"}


@dataclass(frozen=True)
class Layer:
    """Hold a convolution's feature maps of one crop, after the ReLU.

    `maps` is float32 (channels, height, width); `ends_block` is true where pooling follows.
    """

    maps: np.ndarray
    ends_block: bool


class FeatureExtractor:
    """Run the exact ONNX export of a model with its feature maps as outputs.

    ONNX Runtime returns only a graph's outputs, so each ReLU's tensor is made one, in memory. The
    export with 8-bit convolutions has no such tensors.
    """

    def __init__(self, folder: Path, card: Card, threads: int = 1) -> None:
        """Load a model folder's ONNX file, verified against its card.

        `threads` is the number that ONNX Runtime may use for one crop.
        """
        # Imported here, as only the steps page needs onnx.
        import onnx
        import onnxruntime

        model = onnx.load_model_from_string(read_verified(folder / FILES["onnx"], card))
        graph = model.graph
        self.filters = _first_filters(graph)
        convolved = {node.output[0] for node in graph.node if node.op_type == "Conv"}
        self._names = [
            node.output[0]
            for node in graph.node
            if node.op_type == "Relu" and node.input[0] in convolved
        ]
        pooled = {node.input[0] for node in graph.node if node.op_type in POOLING}
        self._ends = [name in pooled for name in self._names]
        graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in self._names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def layers(self, crop: np.ndarray) -> list[Layer]:
        """Return each convolution's feature maps of a crop, uint8 (size, size, channels)."""
        if not self._names:
            return []
        outputs = self._session.run(self._names, {self._input: crop[None]})
        return [Layer(o[0], ends) for o, ends in zip(outputs, self._ends, strict=True)]


def _first_filters(graph: Any) -> np.ndarray | None:
    """Return the first convolution's weights, float32 (filters, channels, height, width).

    An export stores weights in half precision where that is exact, and casts them back. None
    where the graph computes them otherwise, or has no convolution.
    """
    import onnx

    stored = {each.name: each for each in graph.initializer}
    casts = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    for node in graph.node:
        if node.op_type == "Conv":
            name = casts.get(node.input[1], node.input[1])
            if name not in stored:
                return None
            return np.asarray(onnx.numpy_helper.to_array(stored[name]), np.float32)
    return None
