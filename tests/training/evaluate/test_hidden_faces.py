from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from app.vision.models.classifiers import load_classifier
from tests.training.hard_faces import write_boxes
from training.evaluate.visibility import measure_hidden


@pytest.mark.parametrize(("light", "unanswered"), [(1.0, 0.0), (0.1, 1.0)])
def test_a_clear_face_is_answered_and_a_dark_one_is_not(
    tmp_path: Path, light: float, unanswered: float
) -> None:
    folder = tmp_path / "hard-faces"
    photo = (skimage.data.astronaut()[58:171, 168:281] * light).astype(np.uint8)
    (folder / "validation" / "web").mkdir(parents=True)
    Image.fromarray(photo).save(folder / "validation" / "web" / "one.jpg")
    write_boxes(folder)
    rows = measure_hidden(load_classifier(Path("models/expression")), folder)
    kinds = {row["kind"]: (row["count"], row["unanswered"]) for row in rows}
    assert kinds["frontal"] == kinds["all"] == (1, unanswered)
    assert "masked" not in kinds
