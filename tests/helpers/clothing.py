"""A tiny model of whole photos, which knows red, green and blue as garments."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.cards import copy_face_models, hash_files

CLASSES = (
    *("dress", "hat", "longsleeve", "outwear", "pants"),
    *("shirt", "shoes", "shorts", "skirt", "t-shirt"),
)
SIZE = 32
STEEPNESS = 12 / 255  # A photo of one of these colours has the logit 12.
OOD = {"energy_limit": -6.0, "slope": 2.0}
FIGURES = {
    "ood": [
        {"kind": "clothing", "count": 40, "refused": 0.05, "refused_interval": [0.0, 0.125]},
        {"kind": "faces", "count": 1400, "refused": 0.99, "refused_interval": [0.985, 0.995]},
        {"kind": "animals", "count": 200, "refused": 0.85, "refused_interval": [0.8, 0.9]},
    ],
    "speed": {"milliseconds_per_face": 11.42},
}


def write_all_models(folder: Path) -> None:
    """Write the served models of faces into a folder, and `clothing` beside them."""
    copy_face_models(folder)
    write_clothing(folder / "clothing")


def write_clothing(folder: Path) -> None:
    """Write the model folder `clothing`: a red picture is a dress, a green a hat, a blue pants."""
    folder.mkdir()
    onnx.save(_make_network(), folder / "model.onnx")
    card = {
        "name": "clothing",
        "task": "clothing",
        "region": "image",
        "purpose": {
            "en": "Tells colours apart, for tests.",
            "id": "Tells colours apart, for tests.",
        },
        "not_for": {"en": "Anything else.", "id": "Anything else."},
        "size": SIZE,
        "channels": 3,
        "margin": 0.0,
        "heads": {"clothes": {"classes": CLASSES, "threshold": 0.7, "ood": OOD}},
        "default_head": "clothes",
        "files": hash_files(folder),
        "data": {"source": "none", "licence": "none"},
        "training": {},
        "figures": FIGURES,
    }
    (folder / "card.json").write_text(json.dumps(card))


def _make_network() -> onnx.ModelProto:
    filters = np.eye(3, dtype=np.float32)[:, :, None, None]
    weights = np.zeros((3, len(CLASSES)), np.float32)
    for colour, garment in enumerate((0, 1, 4)):
        # The other colours subtract, so that white has no class either.
        weights[:, garment] = -STEEPNESS
        weights[colour, garment] = STEEPNESS
    nodes = [
        helper.make_node("Cast", ["picture"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["numbers"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "filters"], ["convolved"]),
        helper.make_node("Relu", ["convolved"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weights"], ["clothes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("picture", TensorProto.UINT8, ["count", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("clothes", TensorProto.FLOAT, ["count", len(CLASSES)])],
        [numpy_helper.from_array(filters, "filters"), numpy_helper.from_array(weights, "weights")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
