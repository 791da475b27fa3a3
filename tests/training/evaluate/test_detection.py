from pathlib import Path

import skimage.data
from PIL import Image

from tests.training.hard_faces import write_hard_faces, write_sources
from tests.training.recipes import succeed
from training.runs import read_csv


def test_finding_faces_is_reported_beside_plain_haar(tmp_path: Path) -> None:
    write_sources(tmp_path, ("validation",), 320)
    out = tmp_path / "report"
    succeed("evaluate-detector", tmp_path, "--out", out)
    rows = {(row["case"], row["detector"]): row for row in read_csv(out / "detection.csv")}
    assert float(rows["turn 40", "haar"]["recall"]) == 0
    assert float(rows["turn 40", "balanced"]["recall"]) == 1
    assert float(rows["turn 180", "thorough"]["recall"]) == 1
    assert rows["no face, animals", "balanced"]["recall"] == ""
    low, high = (float(rows["turn 40", "balanced"][f"recall_{end}"]) for end in ("low", "high"))
    assert low < 1 == high
    page = (out / "README.md").read_text()
    assert "recall-by-turn.png" in page
    assert "## Reliability of the score" in page
    assert (out / "recall-by-turn.png").is_file()


def test_faces_are_counted_by_kind(tmp_path: Path) -> None:
    folder, out, sheet = tmp_path / "hard-faces", tmp_path / "report", tmp_path / "sheet.png"
    write_hard_faces(folder)
    Image.fromarray(skimage.data.coffee()[:300]).save(folder / "validation" / "web" / "two.jpg")
    succeed("evaluate-faces", tmp_path, "--out", out, "--sheet", sheet)
    rows = {(row["detector"], row["kind"]): row for row in read_csv(out / "kinds.csv")}
    assert rows["balanced", "frontal"]["faces"] == "1"
    assert rows["balanced", "masked"]["faces"] == "0"
    assert float(rows["balanced", "frontal"]["recall"]) == 1
    assert "without faces" in (out / "README.md").read_text()
    counts = {(r["detector"], r["with_faces"]): r for r in read_csv(out / "false-boxes.csv")}
    assert counts["balanced", "False"]["false_boxes"] == "0"
