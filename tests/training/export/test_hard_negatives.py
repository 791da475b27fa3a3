import shutil
from pathlib import Path

import pytest

from tests.training.hard_faces import write_hard_faces, write_sources
from tests.training.recipes import succeed
from training.datasets import face_crops
from training.recipe import RECIPES

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's and its exporter's own
SMALLER = {
    "epochs = 3 ": "epochs = 1 ",
    "epochs = 4 ": "epochs = 1 ",
    "widths = [24, 48, 96, 128]": "widths = [4, 4, 4, 4]",
    "batch = 256": "batch = 16",
    '["runs/teachers/face_classifier-teacher"]': "[]",
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The face classifier's recipe on a small scale, in a folder with its data."""
    monkeypatch.chdir(tmp_path)
    for name in ("COMPOSITES", "BACKGROUNDS"):
        monkeypatch.setattr(face_crops, name, {"train": 6, "validation": 3})
    write_sources(tmp_path / "data", ("train", "validation"), 1000, animals=2)
    write_hard_faces(tmp_path / "data" / "hard-faces")
    text = (RECIPES / "face_classifier.toml").read_text()
    for written, smaller in SMALLER.items():
        assert written in text
        text = text.replace(written, smaller)
    (tmp_path / "face_classifier.toml").write_text(text)
    return tmp_path / "face_classifier.toml"


def test_one_command_cuts_pictures_and_mines_what_the_first_round_mistakes(recipe: Path) -> None:
    succeed("rebuild", recipe)
    assert Path("models/face_classifier/card.json").is_file()
    pictures = sorted(Path("data/candidates/train/other").iterdir())
    assert any("-of-" in picture.name for picture in pictures)
    assert any("composite" in picture.name for picture in pictures)

    # Stopped after the first round, it repeats nothing and adds nothing twice.
    shutil.rmtree("runs/face_classifier")
    fitted = Path("runs/face_classifier-round-1/model.keras").stat().st_mtime
    succeed("rebuild", recipe)
    assert Path("runs/face_classifier-round-1/model.keras").stat().st_mtime == fitted
    assert sorted(Path("data/candidates/train/other").iterdir()) == pictures
