import json
import sys
from pathlib import Path

from PIL import Image

from bench.accuracy import list_unseen_photos, measure_accuracy
from bench.environments import Installed
from bench.report import write_report

COST = {"seconds": 1.0, "megabytes": 2.0}
# The outer face doesn't count; a white photo is missed. A border of 50 pixels lies around all.
FACES = [
    {"box": [50, 50, 10, 10], "expression": "angry"},
    {"box": [90, 90, 20, 20], "expression": "surprised", "unsure": ["expression"]},
]
SOURCE = f"""
import json, sys
from PIL import Image
faces = json.loads({json.dumps(FACES)!r})
for line in sys.stdin:
    middle = Image.open(line.strip()).getpixel((100, 100))
    print(json.dumps({{"faces": faces if middle == (0, 0, 0) else []}}), flush=True)
"""


def test_the_middle_face_counts_and_a_missed_one_is_an_error(tmp_path: Path) -> None:
    for folder, columns in (("photos", "file,gender,expression"), ("wild", "file,expression")):
        (tmp_path / folder).mkdir()
        rows = [columns]
        for person, colour in (("One", "black"), ("Other", "white")):
            Image.new("RGB", (100, 100), colour).save(tmp_path / folder / f"{person}_0001.jpg")
            labels = ["female"] * ("gender" in columns) + ["surprise"]
            rows.append(",".join([f"{person}_0001.jpg", *labels]))
        (tmp_path / folder / "labels.csv").write_text("\n".join(rows))
    sets = list_unseen_photos(tmp_path, None)
    assert {name: len(photos) for name, photos in sets.items()} == {"photos": 1, "wild": 2}
    peers = {
        "one": Installed((sys.executable, "-c", SOURCE), COST),
        "broken": Installed((sys.executable, "-c", "raise SystemExit(1)"), COST),
    }
    figures = measure_accuracy(peers, sets)
    assert set(figures["failed"]) == {"broken"}
    assert "photos, gender" not in figures["tables"]
    row = figures["tables"]["wild, expression"]["one"]
    assert (row["photos"], row["found"][:5], row["right"][:5]) == (2, "50.0%", "50.0%")
    assert row["unanswered"][:5] == "50.0%"
    assert "## How often right: wild, expression" in write_report({"accuracy": figures})
