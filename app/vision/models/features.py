"""Read the features of a frozen network, and join a new head to it: transfer learning."""

import hashlib
from typing import Any

import numpy as np

from app.vision.models.cards import ModelError
from app.vision.models.classifiers import Classifier
from app.vision.models.files import FILES, read_verified
from app.vision.models.onnx_network import OnnxNetwork

# Along each side of a model's own maps: what is where matters, and not only what there is.
CELLS = 3
ACTIVATIONS = ("Relu", "Clip")  # Clip is ReLU6
OUTPUT = "features"
WEIGHTS, BIAS = "taught/weights", "taught/bias"


class FeatureNetwork:
    """Run a model's body up to the feature maps that its card names, averaged over cells."""

    def __init__(self, body: Classifier, threads: int = 1) -> None:
        """Load the exact ONNX file, or that of the card's `feature_body`, verified.

        Raises `ModelError` where it lacks the maps.
        """
        card = body.card
        file = FILES["body" if card.feature_body else "onnx"]
        self._cells = card.feature_body.cells if card.feature_body else CELLS
        self.name, self.shape, self.region = card.name, card.shape, card.region
        told = (card.files.get(file), card.features, self._cells)
        self.version = hashlib.sha256(repr(told).encode()).hexdigest()[:12]
        self._crop = np.zeros((1, card.size, card.size, card.channels), np.uint8)
        self._model = self._build(read_verified(body.folder / file, card), card.features)
        self._network = OnnxNetwork(self._model.SerializeToString(), threads)
        self.length: int = self.read(self._crop).shape[1]

    def read(self, crops: np.ndarray) -> np.ndarray:
        """Map uint8 crops (count, size, size, channels) to float32 features (count, length).

        They are the maps in the order of the card, each channel by channel and row by row.
        """
        return self._network.logits(crops)[OUTPUT]

    def join_head(self, output: str, weights: np.ndarray, bias: np.ndarray) -> bytes:
        """Return an ONNX file that maps uint8 crops to the logits of a linear head.

        `weights` are float32 (classes, length), `bias` float32 (classes,).
        """
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        for name, values in ((WEIGHTS, weights), (BIAS, bias)):
            model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
        head = onnx.helper.make_node("Gemm", [OUTPUT, WEIGHTS, BIAS], [output], transB=1)
        model.graph.node.append(head)
        _set_output(model.graph, output, len(bias))
        content: bytes = model.SerializeToString()
        return content

    def _build(self, content: bytes, indices: list[int]) -> Any:
        # Imported here, as serving without teaching needs no onnx.
        import onnx.utils

        whole = onnx.load_model_from_string(content)
        nodes = whole.graph.node
        relus = [node.output[0] for node in nodes if node.op_type in ACTIVATIONS]
        try:
            names = [relus[index] for index in indices]
        except IndexError as error:
            raise ModelError(f"The card of {self.name} names features that it lacks.") from error
        empty = map(onnx.helper.make_empty_tensor_value_info, names)
        whole.graph.value_info.extend(empty)
        model = onnx.utils.Extractor(whole).extract_model([whole.graph.input[0].name], names)
        graph, make_node = model.graph, onnx.helper.make_node
        maps = OnnxNetwork(model.SerializeToString(), 1).logits(self._crop)
        for name in names:
            stride = maps[name].shape[2] // self._cells
            window = maps[name].shape[2] - (self._cells - 1) * stride
            pool: dict[str, Any] = {"kernel_shape": [window] * 2, "strides": [stride] * 2}
            graph.node.append(make_node("AveragePool", [name], [f"{name}/pooled"], **pool))
            graph.node.append(make_node("Flatten", [f"{name}/pooled"], [f"{name}/flat"]))
        graph.node.append(make_node("Concat", [f"{name}/flat" for name in names], [OUTPUT], axis=1))
        _set_output(graph, OUTPUT, None)
        return model


def _set_output(graph: Any, name: str, length: int | None) -> None:
    import onnx

    del graph.output[:]
    shape = ["count", length]
    info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    graph.output.append(info)
