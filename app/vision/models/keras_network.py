"""Run the models of record by Keras on TensorFlow, which serving doesn't install."""

import os
import sys
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np


def load_tensorflow() -> None:
    """Import TensorFlow, whose start writes to stderr whatever its log level is."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Later, only warnings.
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        # Listing the devices starts them.
        import_module("tensorflow").config.list_logical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class KerasNetwork:
    """Run the content of a `.keras` file, loaded in safe mode: it can't execute code."""

    def __init__(self, content: bytes) -> None:
        load_tensorflow()
        import keras

        # Keras only reads files. The model's own could have been swapped since it was verified.
        with TemporaryDirectory() as folder:
            file = Path(folder) / "model.keras"
            file.write_bytes(content)
            self.model = keras.saving.load_model(file, compile=False, safe_mode=True)

    def logits(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """Run all crops as one batch."""
        return {name: np.asarray(values) for name, values in self.model(crops).items()}

    def grad_cam(self, crop: np.ndarray, sums: dict[str, np.ndarray]) -> np.ndarray:
        """Return each sum's class activation map, float (sums, height, width), at least 0.

        `crop` is uint8 (size, size, channels); `sums` holds the weights of each head's logits,
        float (sums, logits). The maps have the size of the last feature maps.

        Source: Selvaraju et al., "Grad-CAM" (2017), section 3.
        """
        import keras
        import tensorflow as tf

        last = [layer.output for layer in self.model.layers if len(layer.output.shape) == 4][-1]
        outputs = {name: self.model.output[name] for name in sums}
        inspected = keras.Model(self.model.inputs, [last, outputs])
        with tf.GradientTape(persistent=True) as tape:
            maps, logits = inspected(crop[None])
            parts = [
                tf.linalg.matvec(sums[name].astype("float32"), logits[name][0]) for name in sums
            ]
            chosen = tf.unstack(tf.add_n(parts))
        cams = []
        for logit in chosen:
            weights = tf.reduce_mean(tape.gradient(logit, maps), axis=(1, 2))
            cams.append(tf.nn.relu(tf.einsum("bhwc,bc->hw", maps, weights)).numpy())
        return np.stack(cams)
