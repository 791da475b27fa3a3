import shutil
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from tests.training.hard_faces import write_boxes
from tests.training.recipes import run
from training.datasets import face_crops
from training.recipe import RECIPES

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's and its exporter's own
SMALLER = {
    "epochs = 3 ": "epochs = 1 ",
    "epochs = 4 ": "epochs = 1 ",
    "widths = [24, 48, 96, 128]": "widths = [4, 4, 4, 4]",
    "batch = 256": "batch = 16",
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The face classifier's recipe on a small scale, in a folder with its data."""
    monkeypatch.chdir(tmp_path)
    for name in ("COMPOSITES", "BACKGROUNDS"):
        monkeypatch.setattr(face_crops, name, {"train": 6, "validation": 3})
    face = Image.fromarray(skimage.data.astronaut()[58:171, 168:281])
    cat, scene = Image.fromarray(skimage.data.chelsea()), Image.fromarray(skimage.data.coffee())
    files = {"photos/One_0001.jpg": face, "photos/Other_0001.jpg": face}
    for split in ("train", "validation"):
        files[f"gender/{split}/female/1.jpg"] = face
        files[f"fer2013/{split}/happy/1.jpg"] = face
        files[f"clothing/{split}/cup/1.jpg"] = scene
        files[f"hard-faces/{split}/web/one.jpg"] = face
    for kind in ("cats", "dogs", "horses"):
        files |= {f"animals/{kind}/{number}.jpg": cat for number in range(2)}
    for name, picture in files.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(tmp_path / "data" / name, quality=95)
    write_boxes(tmp_path / "data" / "hard-faces")
    text = (RECIPES / "face_classifier.toml").read_text()
    for written, smaller in SMALLER.items():
        assert written in text
        text = text.replace(written, smaller)
    (tmp_path / "face_classifier.toml").write_text(text)
    return tmp_path / "face_classifier.toml"


def test_one_command_cuts_pictures_and_mines_what_the_first_round_mistakes(recipe: Path) -> None:
    rebuilt = run("rebuild", recipe)
    assert rebuilt.exit_code == 0, rebuilt.output
    assert Path("models/face_classifier/card.json").is_file()
    pictures = sorted(Path("data/candidates/train/other").iterdir())
    assert any("-of-" in picture.name for picture in pictures)
    assert any("composite" in picture.name for picture in pictures)

    # Stopped after the first round, it repeats nothing and adds nothing twice.
    shutil.rmtree("runs/face_classifier")
    fitted = Path("runs/face_classifier-round-1/model.keras").stat().st_mtime
    again = run("rebuild", recipe)
    assert again.exit_code == 0, again.output
    assert Path("runs/face_classifier-round-1/model.keras").stat().st_mtime == fitted
    assert sorted(Path("data/candidates/train/other").iterdir()) == pictures
