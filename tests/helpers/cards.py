"""Copies of models, and changes to their cards."""

import json
import shutil
from pathlib import Path
from typing import Any

from app.vision.detection.detector import DETECTOR_FOLDERS
from app.vision.models.files import hash_file


def copy_face_models(folder: Path) -> None:
    for name in ("expression", "gender", *DETECTOR_FOLDERS):
        shutil.copytree(Path("models") / name, folder / name)


def read_card(folder: Path) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((folder / "card.json").read_text())
    return card


def rewrite_card(folder: Path, **changes: object) -> None:
    (folder / "card.json").write_text(json.dumps(read_card(folder) | changes))


def hash_files(folder: Path) -> dict[str, str]:
    return {path.name: hash_file(path.read_bytes()) for path in folder.glob("model.*")}
