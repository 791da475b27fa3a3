"""Run networks by ONNX Runtime."""

import os

import numpy as np

# ONNX Runtime would store an identifier of the device and usage data below the home directory, for
# its maker to collect. It reads this when it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


class OnnxNetwork:
    """Run the content of an `.onnx` file."""

    def __init__(self, content: bytes, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self.input_name = self._session.get_inputs()[0].name
        self._heads = [output.name for output in self._session.get_outputs()]

    def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Run all crops as one batch."""
        return dict(
            zip(self._heads, self._session.run(None, {self.input_name: crops}), strict=True)
        )
