"""Test that models are verified, and that both runtimes answer alike."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.vision.cards import ModelError
from app.vision.classifiers import load_classifier
from app.vision.crops import cut_crop
from app.vision.readings import Box, Detection


@pytest.mark.parametrize("model", ["expression", "gender"])
@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
def test_keras_and_onnx_give_the_same_probabilities(model: str, astronaut: np.ndarray) -> None:
    folder = Path("models") / model
    by_keras, by_onnx = load_classifier(folder, "keras"), load_classifier(folder, "onnx")
    boxes = [Box(177 + step, 66, 95, 95) for step in (-12, -6, 0, 6, 12)]
    crops = np.stack(
        [cut_crop(astronaut, Detection(box, 1.0), by_onnx.card.shape) for box in boxes]
    )
    for one, other in zip(by_keras.predict(crops), by_onnx.predict(crops), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


def test_an_altered_model_file_is_not_loaded(tmp_path: Path) -> None:
    shutil.copytree("models/gender", tmp_path / "gender")
    with (tmp_path / "gender" / "model.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        load_classifier(tmp_path / "gender")


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    shutil.copytree("models/gender", tmp_path / "gender")
    (tmp_path / "gender" / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx is missing"):
        load_classifier(tmp_path / "gender")
