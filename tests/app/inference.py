"""A small inference server that speaks KServe v2 over HTTP, and can be told to fail."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

JSON_LENGTH = "Inference-Header-Content-Length"


@dataclass
class Answer:
    """What the server sends."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


Fault = Callable[["Handler"], Answer | None]


class KServeClient(ThreadingHTTPServer):
    """Serve model folders by the names of the folders."""

    daemon_threads = True

    def __init__(self, *folders: Path, binary: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models = {
            folder.name: onnxruntime.InferenceSession(folder / "model.onnx") for folder in folders
        }
        self.binary = binary
        self.parameters: dict[str, Any] = {}
        self.config: dict[str, Any] | None = None
        self.fault: Fault | None = None
        self.asked: list[str] = []  # paths
        self.bodies: list[bytes] = []  # of each batch
        self.crops: list[np.ndarray] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def batches(self) -> int:
        """How many batches were asked for."""
        return sum(path.endswith("/infer") for path in self.asked)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is none of this server's business."""


class Handler(BaseHTTPRequestHandler):
    """Answer one request."""

    server: KServeClient
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    body = b""

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self._respond()

    def _respond(self) -> None:
        self.server.asked.append(self.path)
        answer = self.server.fault(self) if self.server.fault else self.answer()
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def answer(self) -> Answer:
        """What a sound server says."""
        match self.path.strip("/").split("/"):
            case ["v2", "health", "ready"]:
                return Answer()
            case ["v2", "models", name, *rest] if name in self.server.models:
                return self._of_model(name, rest)
        return Answer(404)

    def _of_model(self, name: str, rest: list[str]) -> Answer:
        if rest == ["infer"]:
            return self._infer(name)
        described = {
            (): {"name": name, "parameters": self.server.parameters},
            ("ready",): {},
            ("config",): self.server.config,
        }.get(tuple(rest))
        return Answer(404) if described is None else Answer(body=json.dumps(described).encode())

    def _infer(self, name: str) -> Answer:
        length = self.headers[JSON_LENGTH]
        if length and not self.server.binary:
            return Answer(500, b"I take JSON only.")
        end = int(length or len(self.body))
        asked = json.loads(self.body[:end])
        (tensor,) = asked["inputs"]
        crops = (
            np.frombuffer(self.body[end:], np.uint8) if length else np.uint8(tensor["data"])
        ).reshape(tensor["shape"])
        self.server.bodies.append(self.body)
        self.server.crops.append(crops)
        heads = [output["name"] for output in asked["outputs"]]
        logits = self.server.models[name].run(heads, {tensor["name"]: crops})
        return write_logits(dict(zip(heads, logits, strict=True)), bool(length))


def write_logits(logits: dict[str, np.ndarray], binary: bool) -> Answer:
    outputs: list[dict[str, Any]] = [
        {"name": name, "datatype": "FP32", "shape": values.shape} for name, values in logits.items()
    ]
    following = b""
    for output, values in zip(outputs, logits.values(), strict=True):
        if binary:
            output["parameters"] = {"binary_data_size": values.nbytes}
            following += values.tobytes()
        else:
            output["data"] = values.ravel().tolist()
    described = json.dumps({"model_name": "any", "outputs": outputs}).encode()
    headers = {JSON_LENGTH: str(len(described))} if binary else {}
    return Answer(200, described + following, headers)


@contextmanager
def serving_models(*folders: Path, binary: bool = True) -> Iterator[KServeClient]:
    server = KServeClient(*folders, binary=binary)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
