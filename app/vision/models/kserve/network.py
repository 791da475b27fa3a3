"""Let an inference server run the classifiers' networks. docs/remote.md says what that means.

Which file a server has loaded can't be seen from here. So each request carries a known crop, whose
logits the verified local file has computed: an answer counts only where the server's are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from app.vision.imaging.crops import CropShape
from app.vision.models.cards import Card
from app.vision.models.kserve.client import KServeClient, ModelDiffers, ServerFault, WrongAnswer
from app.vision.models.onnx_network import OnnxNetwork

# Crops that a server must answer like the local file before it is asked anything else; the first
# of them goes along with every request.
KNOWN_CROPS = 8
KNOWN_SQUARES = 6  # along a known crop's side: coarse, as the networks look for shapes
TOLERANCE = 1e-3  # of a logit, relative above 1
DIGEST = "sha256"  # the parameter in which a server may tell its file's hash


class KServeNetwork:
    """Run a network on an inference server that has a model of the card's name."""

    def __init__(self, server: KServeClient, card: Card, local: OnnxNetwork) -> None:
        self._server = server
        self._card = card
        self._heads = {name: len(head.classes) for name, head in card.heads.items()}
        self._input = local.input_name
        self._known = make_known_crops(card.shape)
        self._expected = local.logits(self._known)
        self._checked = False
        self._binary = True

    def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Run all crops as one batch. Raises `RautError` where the server gives no sound answer."""
        with self._server.attempt(self._card.name) as ends:
            try:
                if not self._checked:
                    self._check(ends)
                return self._ask(crops, ends)
            except ServerFault:
                # A server that comes back may have loaded something else meanwhile.
                self._checked = False
                raise

    def check(self) -> None:
        """Raise `ServerFault` where the server isn't ready or its model isn't the card's."""
        self._check(self._server.allow())

    def _check(self, ends: float) -> None:
        self._server.check_ready(self._card.name, ends)
        told = _told_digest(self._server.find_parameters(self._card.name, ends))
        if told is not None and told not in self._card.files.values():
            raise ModelDiffers(
                f"its model {self._card.name} has the SHA-256 {told[:64]!r}, which its card lacks."
            )
        self._binary = self._takes_binary(ends)
        self._checked = True

    def _takes_binary(self, ends: float) -> bool:
        """Compare all known crops, and tell whether tensors may be sent as their own bytes.

        Not every server that takes them says so, and some that don't answer with status 500.
        """
        try:
            self._compare(self._infer(self._known, ends, binary=True))
        except WrongAnswer:
            self._compare(self._infer(self._known, ends, binary=False))
            return False
        return True

    def _ask(self, crops: np.ndarray, ends: float) -> dict[str, np.ndarray]:
        answers = self._infer(np.concatenate([self._known[:1], crops]), ends, self._binary)
        self._compare({name: values[:1] for name, values in answers.items()})
        return {name: values[1:] for name, values in answers.items()}

    def _infer(self, crops: np.ndarray, ends: float, binary: bool) -> dict[str, np.ndarray]:
        name = self._card.name
        return self._server.infer(name, self._input, crops, self._heads, ends, binary)

    def _compare(self, answers: dict[str, np.ndarray]) -> None:
        """Raise `ModelDiffers` where known crops' logits aren't the local file's."""
        for name, values in answers.items():
            expected = self._expected[name][: len(values)]
            if not np.allclose(values, expected, rtol=TOLERANCE, atol=TOLERANCE):
                raise ModelDiffers(
                    f"its model {self._card.name} isn't the file that the card describes: for "
                    f"known pictures its logits differ by up to {abs(values - expected).max():.2g}."
                )


def make_known_crops(shape: CropShape) -> np.ndarray:
    """Make crops of coarse squares, always the same: uint8 (count, size, size, channels)."""
    generator = np.random.default_rng(1)
    sides = (KNOWN_CROPS, KNOWN_SQUARES, KNOWN_SQUARES, shape.channels)
    coarse = generator.integers(0, 256, sides, np.uint8)
    places = np.arange(shape.size) * KNOWN_SQUARES // shape.size
    return np.ascontiguousarray(coarse[:, places][:, :, places])


def _told_digest(parameters: dict[str, Any]) -> str | None:
    told = parameters.get(DIGEST)
    if isinstance(told, dict):
        told = told.get("string_value")
    return None if told is None else str(told)
