"""Run the classifiers' networks on an inference server; see docs/remote.md.

Which file a server has loaded can't be seen from here. So each batch carries a known crop, whose
logits the verified local file has computed: a response counts only where the server's are the same.
"""

import numpy as np

from app.vision.imaging.crops import CropShape
from app.vision.models.cards import Card
from app.vision.models.kserve.client import (
    InferenceError,
    KServeClient,
    ModelMismatchError,
    ResponseError,
)
from app.vision.models.onnx_network import OnnxNetwork

# Crops whose logits are compared before the first batch; the first of them is in every batch.
KNOWN_CROPS = 8
KNOWN_SQUARES = 6  # along a known crop's side: coarse, as the networks look for shapes
TOLERANCE = 1e-3  # of a logit, relative above 1
DIGEST = "sha256"  # the parameter in which a server may name its file's hash


class KServeNetwork:
    """Network on an inference server that has a model of the card's name."""

    def __init__(self, server: KServeClient, card: Card, local: OnnxNetwork) -> None:
        self._server = server
        self._card = card
        self._heads = {name: len(head.classes) for name, head in card.outputs.items()}
        self._input = local.input_name
        self._known = make_known_crops(card.shape)
        self._expected = local.logits(self._known)
        self._checked = False
        self._binary = True

    def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Run all crops as one batch. Raises `RautError` where the server gives no valid logits."""
        with self._server.attempt(self._card.name) as deadline:
            try:
                if not self._checked:
                    self._check(deadline)
                crops = np.concatenate([self._known[:1], crops])
                logits = self._infer(crops, 1, deadline, self._binary)
            except InferenceError:
                # A server that comes back may have loaded another model.
                self._checked = False
                raise
            return {name: values[1:] for name, values in logits.items()}

    def check(self) -> None:
        """Raise `InferenceError` unless the server is ready and its model is the card's."""
        self._check(self._server.deadline())

    def _check(self, deadline: float) -> None:
        self._server.check_ready(self._card.name, deadline)
        digest = self._server.find_parameters(self._card.name, deadline).get(DIGEST)
        if isinstance(digest, dict):  # Triton wraps strings.
            digest = digest.get("string_value")
        if digest is not None and str(digest) not in self._card.files.values():
            raise ModelMismatchError(
                f"its model {self._card.name} has the SHA-256 {str(digest)[:64]!r}, which its card "
                "lacks."
            )
        # Not every server with the binary extension says so, and others answer with status 500.
        try:
            self._infer(self._known, KNOWN_CROPS, deadline, binary=True)
        except ResponseError:
            self._infer(self._known, KNOWN_CROPS, deadline, binary=False)
            self._binary = False
        else:
            self._binary = True
        self._checked = True

    def _infer(
        self, crops: np.ndarray, known: int, deadline: float, binary: bool
    ) -> dict[str, np.ndarray]:
        """Return the logits of crops. Raises `InferenceError` unless the first `known` match."""
        name = self._card.name
        logits = self._server.infer(name, self._input, crops, self._heads, deadline, binary)
        for head, values in logits.items():
            expected = self._expected[head][:known]
            if not np.allclose(values[:known], expected, rtol=TOLERANCE, atol=TOLERANCE):
                difference = abs(values[:known] - expected).max()
                raise ModelMismatchError(
                    f"its model {name} isn't the file that the card describes: for known pictures "
                    f"its logits differ by up to {difference:.2g}."
                )
        return logits


def make_known_crops(shape: CropShape) -> np.ndarray:
    """Return deterministic crops of coarse squares: uint8 (count, size, size, channels)."""
    generator = np.random.default_rng(1)
    sides = (KNOWN_CROPS, KNOWN_SQUARES, KNOWN_SQUARES, shape.channels)
    coarse = generator.integers(0, 256, sides, np.uint8)
    indices = np.arange(shape.size) * KNOWN_SQUARES // shape.size
    return np.ascontiguousarray(coarse[:, indices][:, :, indices])
