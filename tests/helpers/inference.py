"""A small inference server that speaks the Open Inference Protocol, and can be made to fail."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

import numpy as np
import onnxruntime

JSON_LENGTH = "Inference-Header-Content-Length"


@dataclass
class Answer:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)


Fault = Callable[["Handler"], Answer | None]


class FakeServer(ThreadingHTTPServer):
    """Serve model folders by their names, as a context manager."""

    daemon_threads = True

    def __init__(self, *folders: Path, binary: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._own = {
            folder.name: onnxruntime.InferenceSession(folder / "model.onnx") for folder in folders
        }
        self.binary = binary
        self.reset()

    def reset(self) -> None:
        """Forget faults, changes and requests."""
        self.models = dict(self._own)
        self.parameters: dict[str, Any] = {}
        self.config: dict[str, Any] | None = None
        self.fault: Fault | None = None  # answers instead
        self.paths: list[str] = []  # of all requests
        self.bodies: list[bytes] = []  # of each batch
        self.crops: list[np.ndarray] = []

    def __enter__(self) -> Self:
        self._thread = Thread(target=self.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def batches(self) -> int:
        return sum(path.endswith("/infer") for path in self.paths)

    def handle_error(self, *request: Any) -> None:
        """Ignore clients that gave up."""


class Handler(BaseHTTPRequestHandler):
    server: FakeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.paths.append(self.path)
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

    do_POST = do_GET  # noqa: N815 - the base class calls it

    def answer(self) -> Answer:
        """Answer as the protocol has it."""
        match self.path.strip("/").split("/"):
            case ["v2", "health", "ready"]:
                return Answer()
            case ["v2", "models", name, *rest] if name in self.server.models:
                if rest == ["infer"]:
                    return self._infer(name)
                described = {
                    "": {"name": name, "parameters": self.server.parameters},
                    "ready": {},
                    "config": self.server.config,
                }.get("/".join(rest))
                if described is not None:
                    return Answer(body=json.dumps(described).encode())
        return Answer(404)

    def _infer(self, name: str) -> Answer:
        length = self.headers[JSON_LENGTH]
        if length and not self.server.binary:
            return Answer(500, b"I take JSON only.")
        end = int(length or len(self.body))
        request = json.loads(self.body[:end])
        (tensor,) = request["inputs"]
        values = np.frombuffer(self.body[end:], np.uint8) if length else np.uint8(tensor["data"])
        crops = values.reshape(tensor["shape"])
        self.server.bodies.append(self.body)
        self.server.crops.append(crops)
        heads = [output["name"] for output in request["outputs"]]
        logits = self.server.models[name].run(heads, {tensor["name"]: crops})
        return write_logits(dict(zip(heads, logits, strict=True)), bool(length))


def write_logits(logits: dict[str, np.ndarray], binary: bool) -> Answer:
    outputs = [
        {
            "name": name,
            "datatype": "FP32",
            "shape": values.shape,
            **(
                {"parameters": {"binary_data_size": values.nbytes}}
                if binary
                else {"data": values.ravel().tolist()}
            ),
        }
        for name, values in logits.items()
    ]
    described = json.dumps({"model_name": "any", "outputs": outputs}).encode()
    if not binary:
        return Answer(body=described)
    tensors = b"".join(values.tobytes() for values in logits.values())
    return Answer(200, described + tensors, {JSON_LENGTH: str(len(described))})
