"""Write the table of a small hard-faces for tests."""

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from training.runs import write_csv

LANDMARKS = {
    "eye_picture_left": (40, 45),
    "eye_picture_right": (72, 45),
    "nose": (56, 60),
    "mouth_picture_left": (45, 78),
    "mouth_picture_right": (68, 78),
}


def write_hard_faces(folder: Path, light: float = 1.0) -> None:
    """Write a hard-faces of one photo in each split, at a share of its light."""
    photo = (skimage.data.astronaut()[58:171, 168:281] * light).astype(np.uint8)
    for split in ("train", "validation"):
        (folder / split / "web").mkdir(parents=True)
        Image.fromarray(photo).save(folder / split / "web" / "one.jpg")
    write_boxes(folder)


def write_sources(folder: Path, splits: tuple[str, ...], most_side: int, animals: int = 1) -> None:
    """Write two people's photos, a scene in each split, and animals, as the detector's data."""
    # The box that a photo's face has in the data set of photos.
    face = Image.fromarray(skimage.data.astronaut()[58:171, 168:281])
    cat, scene = Image.fromarray(skimage.data.chelsea()), Image.fromarray(skimage.data.coffee())
    files = {"photos/One_0001.jpg": face, "photos/Other_0001.jpg": face}
    for split in splits:
        files[f"gender/{split}/female/1.jpg"] = face
        files[f"fer2013/{split}/happy/1.jpg"] = face
        files[f"clothing/{split}/cup/1.jpg"] = scene
    for kind in ("cats", "dogs", "horses"):
        files |= {f"animals/{kind}/{number}.jpg": cat for number in range(animals)}
    for name, picture in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.resize(tuple(np.minimum(picture.size, most_side))).save(folder / name, quality=95)


def write_boxes(folder: Path, **changes: str) -> None:
    """Write boxes.csv with one face and one uncertain box in each split's web/one.jpg."""
    rows = []
    for split in ("train", "validation"):
        row = {
            "file": f"{split}/web/one.jpg",
            **{"x": "26", "y": "20", "width": "60", "height": "80", "score": "1"},
            **{"uncertain": "0", "kind": "frontal", "yaw_degrees": "5", "roll_degrees": "0"},
            "sunglasses": "0",
        }
        for name, (x, y) in LANDMARKS.items():
            row |= {f"{name}_x": str(x), f"{name}_y": str(y)}
        rows.append(row | changes)
        rows.append(row | {"x": "90", "y": "90", "width": "12", "height": "16", "uncertain": "1"})
    write_csv(folder / "boxes.csv", rows)
