"""Serve an ONNX file with MLServer, and tell its SHA-256. docs/remote.md says how to start it."""

import hashlib
from pathlib import Path

import onnxruntime
from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):
    """Run a file in ONNX Runtime; MLServer takes and gives the tensors."""

    async def load(self) -> bool:
        """Load the file that the model's settings name."""
        content = Path(await get_model_uri(self.settings)).read_bytes()
        self._digest = hashlib.sha256(content).hexdigest()
        self._session = onnxruntime.InferenceSession(content)
        return True

    async def metadata(self) -> types.MetadataModelResponse:
        """Add the hash, which Raut looks up in the model's card."""
        described = await super().metadata()
        described.parameters = types.Parameters(sha256=self._digest)
        return described

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        """Answer a batch with all heads' logits."""
        crops = {each.name: NumpyCodec.decode_input(each) for each in payload.inputs}
        heads = [output.name for output in self._session.get_outputs()]
        logits = self._session.run(heads, crops)
        return types.InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output(name, values)
                for name, values in zip(heads, logits, strict=True)
            ],
        )
