"""Read the features of frozen networks, and join a new head to them: transfer learning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np

from app.vision.imaging.crops import CropShape
from app.vision.models.cards import Card, ModelError, Region
from app.vision.models.classifiers import Classifier
from app.vision.models.files import FILES, read_verified
from app.vision.models.onnx_network import OnnxNetwork

PLACES = 3  # along each side of a feature map: what is where matters, and not only what there is
GREY = np.array([[0.299], [0.587], [0.114]], np.float32)  # of RGB, as OpenCV has it
INPUT, OUTPUT = "crop", "features"
OPSET = 15  # as the models' own files


class FeatureNetwork:
    """Run the bodies of several models on one crop, and return their feature maps, pooled.

    Bodies are models whose card names `features`. All take the crop of the largest; the others
    resize it within the graph, so that a head joined to this graph reads what it was taught with.
    """

    def __init__(self, classifiers: Iterable[Classifier], region: Region, threads: int) -> None:
        """Join the bodies among the classifiers of one region, their files verified.

        Raises `ModelError` where there are none, or where they differ in their crops' margin.
        """
        bodies = [each for each in classifiers if each.card.features and each.card.region == region]
        if not bodies:
            raise ModelError(f"No model of the region {region!r} names features on its card.")
        self.region: Region = region
        cards = [each.card for each in bodies]
        self.shape = max((card.shape for card in cards), key=lambda shape: shape.size)
        if any(card.margin != self.shape.margin for card in cards):
            raise ModelError(f"The bodies for the region {region!r} cut faces by other margins.")
        self.bodies = {card.name: card.files[FILES["onnx"]] for card in cards}
        told = [PLACES, *((name, self.bodies[name]) for name in self.bodies)]
        told += [[*card.features, card.size] for card in cards]
        self.version = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]
        contents = [read_verified(each.folder / FILES["onnx"], each.card) for each in bodies]
        self._graph = _join_bodies(cards, contents, self.shape)
        self._network = OnnxNetwork(self._graph.SerializeToString(), threads)
        self.length = self.read(np.zeros((1, *_sides(self.shape)), np.uint8)).shape[1]

    def read(self, crops: np.ndarray) -> np.ndarray:
        """Map uint8 crops (count, size, size, channels) to their features: float32 (count, length).

        They are the maps of each body in turn, each pooled to 3 x 3 places, channel by channel.
        """
        return self._network.logits(crops)[OUTPUT]

    def join_head(self, name: str, weights: np.ndarray, bias: np.ndarray) -> bytes:
        """Return an ONNX file that maps uint8 crops to the logits of a linear head.

        `weights` are float32 (classes, length), `bias` (classes,); the output is called `name`.
        """
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self._graph)
        graph = model.graph
        _store(graph, weights=weights.astype(np.float32), bias=bias.astype(np.float32))
        inputs = [OUTPUT, "weights", "bias"]
        graph.node.append(onnx.helper.make_node("Gemm", inputs, [name], transB=1))
        del graph.output[:]
        graph.output.append(_describe(name, onnx.TensorProto.FLOAT, len(bias)))
        content: bytes = model.SerializeToString()
        return content


def _join_bodies(cards: list[Card], contents: list[bytes], shape: CropShape) -> Any:
    """Return the ONNX model of all bodies, from the uint8 crop to the features."""
    import onnx

    helper, kinds = onnx.helper, onnx.TensorProto
    graph = helper.make_graph([], OUTPUT, [_describe(INPUT, kinds.UINT8, *_sides(shape))], [])
    pooled = []
    for card, content in zip(cards, contents, strict=True):
        body, maps = _cut(card, onnx.load_model_from_string(content))
        source = _resize(graph, card, shape)
        for node in body.graph.node:
            inputs = [source if each == body.graph.input[0].name else each for each in node.input]
            node.input[:] = inputs
        graph.node.extend(body.graph.node)
        graph.initializer.extend(body.graph.initializer)
        for name, side in maps:
            stride = side // PLACES
            window = side - (PLACES - 1) * stride
            graph.node.extend(
                [
                    helper.make_node(
                        "AveragePool",
                        [name],
                        [f"{name}/pooled"],
                        kernel_shape=[window, window],
                        strides=[stride, stride],
                    ),
                    helper.make_node("Flatten", [f"{name}/pooled"], [f"{name}/flat"]),
                ]
            )
            pooled.append(f"{name}/flat")
    graph.node.append(helper.make_node("Concat", pooled, [OUTPUT], axis=1))
    graph.output.append(_describe(OUTPUT, kinds.FLOAT, None))
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _cut(card: Card, model: Any) -> tuple[Any, list[tuple[str, int]]]:
    """Return a model up to its feature maps, its names prefixed, with the maps' names and sides."""
    import onnx

    relus = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    try:
        names = [relus[index] for index in card.features]
    except IndexError as error:
        raise ModelError(f"The card of {card.name} names feature maps that it lacks.") from error
    needed, kept = set(names), []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.insert(0, node)
    weights = [each for each in model.graph.initializer if each.name in needed]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in names]
    graph = onnx.helper.make_graph(kept, card.name, model.graph.input, outputs, weights)
    body = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=8)
    network = OnnxNetwork(body.SerializeToString(), 1)
    maps = network.logits(np.zeros((1, *_sides(card.shape)), np.uint8))
    prefix = f"{card.name}/"
    onnx.compose.add_prefix(body, prefix, inplace=True)
    return body, [(prefix + name, maps[name].shape[2]) for name in names]


def _resize(graph: Any, card: Card, shape: CropShape) -> str:
    """Add what makes a body's crop of the common one; return the tensor's name."""
    import onnx

    if (card.size, card.channels) == (shape.size, shape.channels):
        return INPUT
    name = f"{card.name}/{INPUT}"
    # Averaging over areas, as `shape_crop` does.
    square = np.eye(shape.size, dtype=np.float32)
    areas = cv2.resize(square, (shape.size, card.size), interpolation=cv2.INTER_AREA)
    channels = GREY if card.channels < shape.channels else np.eye(shape.channels, dtype=np.float32)
    _store(graph, **{f"{name}/areas": areas, f"{name}/channels": channels})
    to_float = onnx.TensorProto.FLOAT
    graph.node.extend(
        [
            onnx.helper.make_node("Cast", [INPUT], [f"{name}/float"], to=to_float),
            onnx.helper.make_node(
                "Einsum",
                [f"{name}/float", f"{name}/areas", f"{name}/areas", f"{name}/channels"],
                [name],
                equation="nhwc,ih,jw,cd->nijd",
            ),
        ]
    )
    return name


def _store(graph: Any, **arrays: np.ndarray) -> None:
    import onnx

    graph.initializer.extend(onnx.numpy_helper.from_array(v, name) for name, v in arrays.items())


def _sides(shape: CropShape) -> tuple[int, int, int]:
    return shape.size, shape.size, shape.channels


def _describe(name: str, kind: int, *sides: int | None) -> Any:
    import onnx

    return onnx.helper.make_tensor_value_info(name, kind, ["count", *sides])
