"""Read the files of a model folder, verified against its card."""

import hashlib
from pathlib import Path
from typing import Literal

from app.vision.models.cards import Card, ModelError

Runtime = Literal["auto", "keras", "onnx"]
FILES = {"keras": "model.keras", "onnx": "model.onnx", "int8": "model.int8.onnx"}


def choose_file(runtime: Runtime, card: Card) -> str:
    """Return which of the model's files a runtime loads, as a key of `FILES`."""
    if runtime == "auto":
        return "int8" if FILES["int8"] in card.files else "onnx"
    return runtime


def read_verified(path: Path, card: Card) -> bytes:
    """Read a model file and check its SHA-256 against the card.

    Raises `ModelError` where the file is missing, not named in the card, or altered.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing.")
    content = path.read_bytes()
    if card.files.get(path.name) != hash_file(content):
        raise ModelError(f"{path} is not the file that its card describes: its SHA-256 differs.")
    return content


def hash_file(content: bytes) -> str:
    """Return a file's SHA-256 in hexadecimal, as cards name it."""
    return hashlib.sha256(content).hexdigest()
