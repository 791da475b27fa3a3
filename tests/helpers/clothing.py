"""A tiny model of whole photos, which knows red, green and blue as garments."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser

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


NETWORK = f"""
<ir_version: 8, opset_import: ["": 17]>
colours (uint8[count, {SIZE}, {SIZE}, 3] picture) => (float[count, {len(CLASSES)}] clothes) {{
    numbers = Cast<to=1>(picture)
    planes = Transpose<perm=[0, 3, 1, 2]>(numbers)
    convolved = Conv(planes, filters)
    maps = Relu(convolved)
    pooled = GlobalAveragePool(maps)
    means = Flatten(pooled)
    clothes = MatMul(means, weights)
}}
"""


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
        "purpose": dict.fromkeys(("en", "id"), "Tells colours apart, for tests."),
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
    weights = np.zeros((3, len(CLASSES)), np.float32)
    for colour, garment in enumerate((0, 1, 4)):
        # The other colours subtract, so that white has no class either.
        weights[:, garment] = -STEEPNESS
        weights[colour, garment] = STEEPNESS
    filters = np.eye(3, dtype=np.float32)[:, :, None, None]
    model = onnx.parser.parse_model(NETWORK)
    for name, values in (("filters", filters), ("weights", weights)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return model
