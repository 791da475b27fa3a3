"""Encode requests and decode responses of the Open Inference Protocol (KServe v2) over HTTP.

Source: KServe, "Open Inference Protocol" and its "Binary Tensor Data Extension".
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

# Header with the length of the JSON, which the tensors' bytes follow.
JSON_LENGTH = "Inference-Header-Content-Length"
# The datatype in the protocol, and the little-endian dtype in which it is sent.
LOGITS, LOGITS_SENT = "FP32", np.dtype("<f4")


class _Parameters(BaseModel):
    binary_data_size: int = Field(0, ge=0)


class _Tensor(BaseModel):
    """A tensor of a response; its values are in `data`, or follow the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: _Parameters | None = None
    data: list[Any] | None = None

    @property
    def binary_size(self) -> int:
        return self.parameters.binary_data_size if self.parameters else 0


class _Response(BaseModel):
    outputs: list[_Tensor]


def write_request(
    name: str, crops: np.ndarray, heads: Iterable[str], binary: bool
) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a request for some heads' logits.

    `crops` is uint8 (count, size, size, channels) for the input `name`. They are bytes after the
    JSON (`binary`), or numbers in it, which take about four times as many bytes.
    """
    tensor: dict[str, Any] = {"name": name, "shape": list(crops.shape), "datatype": "UINT8"}
    if not binary:
        tensor["data"] = crops.ravel().tolist()
        request = {"inputs": [tensor], "outputs": [{"name": head} for head in heads]}
        return _dump(request), {"Content-Type": "application/json"}
    content = crops.tobytes()
    tensor["parameters"] = {"binary_data_size": len(content)}
    outputs = [{"name": head, "parameters": {"binary_data": True}} for head in heads]
    described = _dump({"inputs": [tensor], "outputs": outputs})
    headers = {"Content-Type": "application/octet-stream", JSON_LENGTH: str(len(described))}
    return described + content, headers


def read_response(
    body: bytes, json_length: str | None, count: int, heads: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Return each head's float32 logits (count, classes) from a response's body.

    `json_length` is its `JSON_LENGTH` header, `heads` maps names to their number of classes.
    Raises `ValueError` for anything but finite logits of these shapes.
    """
    end = len(body) if json_length is None else int(json_length)
    if not 0 <= end <= len(body):
        raise ValueError("The JSON would be longer than the body.")
    found: dict[str, np.ndarray] = {}
    for tensor in _Response.model_validate_json(body[:end]).outputs:
        following = body[end : end + tensor.binary_size]
        end += len(following)
        if tensor.name in found:
            raise ValueError(f"{tensor.name} came twice.")
        if tensor.name in heads:
            shape = (count, heads[tensor.name])
            found[tensor.name] = _read_logits(tensor, following, shape)
    if missing := heads.keys() - found.keys():
        raise ValueError(f"There are no logits for {', '.join(sorted(missing))}.")
    return found


def _dump(described: dict[str, Any]) -> bytes:
    # Without spaces, of which there would be one for each pixel.
    return json.dumps(described, separators=(",", ":")).encode()


def _read_logits(tensor: _Tensor, following: bytes, shape: tuple[int, int]) -> np.ndarray:
    if (tensor.datatype, tuple(tensor.shape)) != (LOGITS, shape):
        raise ValueError(f"{tensor.datatype} {tensor.shape} came where {shape} was asked for.")
    if tensor.data is None:
        values = np.frombuffer(following, LOGITS_SENT)
    else:
        values = np.asarray(tensor.data)
    if values.dtype.kind not in "fiu":
        raise ValueError("Not all logits are numbers.")
    with np.errstate(over="ignore"):
        values = values.reshape(shape).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("Not all logits are finite.")
    return values
