from pathlib import Path

import pytest

from app.vision.models.classifiers import load_classifier
from tests.training.hard_faces import write_hard_faces
from training.evaluate.visibility import measure_hidden


@pytest.mark.parametrize(("light", "unanswered"), [(1.0, 0.0), (0.1, 1.0)])
def test_only_a_clear_face_is_answered(tmp_path: Path, light: float, unanswered: float) -> None:
    write_hard_faces(tmp_path / "hard-faces", light)
    rows = measure_hidden(load_classifier(Path("models/expression")), tmp_path / "hard-faces")
    kinds = {row["kind"]: (row["count"], row["unanswered"]) for row in rows}
    assert kinds["frontal"] == kinds["all"] == (1, unanswered)
    assert "masked" not in kinds
