"""Extract a network's first filters and the feature maps of a crop."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.vision.models.cards import Card
from app.vision.models.files import FILES, read_verified
from app.vision.models.onnx_network import OnnxNetwork

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

        model = onnx.load_model_from_string(read_verified(folder / FILES["onnx"], card))
        graph = model.graph
        self.filters = _first_filters(graph)
        convolved = {node.output[0] for node in graph.node if node.op_type == "Conv"}
        pooled = {node.input[0] for node in graph.node if node.op_type in POOLING}
        self._layers = {
            node.output[0]: node.output[0] in pooled
            for node in graph.node
            if node.op_type == "Relu" and node.input[0] in convolved
        }
        graph.output.extend(map(onnx.helper.make_empty_tensor_value_info, self._layers))
        self._network = OnnxNetwork(model.SerializeToString(), threads)

    def layers(self, crop: np.ndarray) -> list[Layer]:
        """Return each convolution's feature maps of a crop, uint8 (size, size, channels)."""
        outputs = self._network.logits(crop[None])
        return [Layer(outputs[name][0], ends) for name, ends in self._layers.items()]


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
