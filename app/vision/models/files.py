"""Read the files of a model folder, verified against its card."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from app.vision.models.cards import Card, ModelError

Runtime = Literal["auto", "keras", "onnx"]
FILES = {"keras": "model.keras", "onnx": "model.onnx", "int8": "model.int8.onnx"}
FILES["body"] = "body.onnx"  # a card's `feature_body`


def choose_file(runtime: Runtime, card: Card) -> str:
    """Return which of the model's files a runtime loads, as a key of `FILES`."""
    if runtime == "auto":
        return "int8" if FILES["int8"] in card.files else "onnx"
    return runtime


def read_verified(path: Path, card: Card) -> bytes:
    """Read a model file and check its SHA-256 against the card.

    Raises `ModelError` where the file is missing, not named in the card, or altered, and where it
    takes weights from other files, whose hashes no card names.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing.")
    content = path.read_bytes()
    if card.files.get(path.name) != hash_file(content):
        raise ModelError(f"{path} is not the file that its card describes: its SHA-256 differs.")
    if path.suffix == ".onnx" and _is_incomplete(path, content):
        raise ModelError(
            f"{path} takes weights from other files, which its card doesn't describe. Save the "
            "model with all its weights in one file."
        )
    return content


def _is_incomplete(path: Path, content: bytes) -> bool:
    """Return whether an ONNX file refers to other files, or to addresses in memory."""
    # An external tensor names its file by this key. onnx takes half a second to import.
    if b"location" not in content:
        return False
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # Each of its parsers has its own.
        raise ModelError(f"{path} can't be read as a model: {error}") from error
    external = onnx.TensorProto.EXTERNAL
    return any(
        isinstance(each, onnx.TensorProto) and each.data_location == external
        for each in _walk(model)
    )


def _walk(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all within it: in subgraphs, functions and attributes, too."""
    yield message
    for field, value in message.ListFields():
        if field.message_type:
            for each in value if hasattr(value, "add") else [value]:
                yield from _walk(each)


def hash_file(content: bytes) -> str:
    """Return a file's SHA-256 in hexadecimal, as cards name it."""
    return hashlib.sha256(content).hexdigest()
