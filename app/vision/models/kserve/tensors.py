"""Write crops and read logits as the Open Inference Protocol (KServe v2) has them over HTTP.

Source: KServe, "Open Inference Protocol" and its "Binary Tensor Data Extension".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

# Says where the JSON ends and the tensors' own bytes begin.
JSON_LENGTH = "Inference-Header-Content-Length"
# The datatype's name in the protocol, and in numpy as it is sent: little-endian.
LOGITS, LOGITS_SENT = "FP32", np.dtype("<f4")


class _Tensor(BaseModel):
    """Describe one tensor of an answer; its values are in `data`, or follow the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None

    @property
    def binary_size(self) -> int:
        """Return how many bytes after the JSON are this tensor's."""
        return int((self.parameters or {}).get("binary_data_size", 0))


class _Answer(BaseModel):
    """Describe an answer; what else a server says is passed over."""

    outputs: list[_Tensor]


def write_request(
    name: str, crops: np.ndarray, heads: Iterable[str], binary: bool
) -> tuple[bytes, dict[str, str]]:
    """Ask for the logits of some heads; returns the body and its headers.

    `crops` is uint8 (count, size, size, channels) for the input `name`; `binary` sends them as
    their own bytes after the JSON, else they are numbers in it, about four times as many bytes.
    """
    tensor: dict[str, Any] = {"name": name, "shape": list(crops.shape), "datatype": "UINT8"}
    if not binary:
        tensor["data"] = crops.ravel().tolist()
        asked = {"inputs": [tensor], "outputs": [{"name": head} for head in heads]}
        return _write(asked), {"Content-Type": "application/json"}
    content = crops.tobytes()
    tensor["parameters"] = {"binary_data_size": len(content)}
    outputs = [{"name": head, "parameters": {"binary_data": True}} for head in heads]
    described = _write({"inputs": [tensor], "outputs": outputs})
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(described))}
    return described + content, headers


def read_answer(
    body: bytes, json_length: str | None, count: int, heads: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Return each head's float32 logits (count, classes) from an answer.

    `json_length` is the answer's header of that name, `heads` maps names to their classes' count.
    Raises `ValueError` for anything but finite logits of these shapes.
    """
    end = len(body) if json_length is None else int(json_length)
    if not 0 <= end <= len(body):
        raise ValueError("The JSON is said to be longer than the answer.")
    found: dict[str, np.ndarray] = {}
    for tensor in _Answer.model_validate_json(body[:end]).outputs:
        following = body[end : end + tensor.binary_size]
        end += len(following)
        if tensor.name in heads:
            shape = (count, heads[tensor.name])
            found[tensor.name] = _read_logits(tensor, following, shape)
    if missing := heads.keys() - found.keys():
        raise ValueError(f"There are no logits for {', '.join(sorted(missing))}.")
    return found


def _write(described: dict[str, Any]) -> bytes:
    """Write JSON without the spaces, of which there would be one for each pixel."""
    return json.dumps(described, separators=(",", ":")).encode()


def _read_logits(tensor: _Tensor, following: bytes, shape: tuple[int, int]) -> np.ndarray:
    if (tensor.datatype, tuple(tensor.shape)) != (LOGITS, shape):
        raise ValueError(f"{tensor.datatype} {tensor.shape} came where {shape} was asked for.")
    if tensor.data is None:
        values = np.frombuffer(following, LOGITS_SENT)
    else:
        values = np.asarray(tensor.data, LOGITS_SENT)
    if not np.isfinite(values).all():
        raise ValueError("Not all logits are finite.")
    return values.reshape(shape).astype(np.float32)
