import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from app.__main__ import cli
from tests.helpers.forms import ASTRONAUT_PNG


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder with a photo, another one deeper, a broken one, and a file of another kind."""
    (tmp_path / "album" / "deeper").mkdir(parents=True)
    (tmp_path / "album" / "first.png").write_bytes(ASTRONAUT_PNG)
    (tmp_path / "album" / "deeper" / "second.PNG").write_bytes(ASTRONAUT_PNG)
    (tmp_path / "album" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "album" / "notes.txt").write_text("not a photo")
    return tmp_path / "album"


def analyze(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["analyze", *map(str, arguments)])


def test_a_bad_file_is_reported_and_the_rest_is_done(album: Path) -> None:
    result = analyze(album)
    assert result.exit_code == 1
    assert "broken.jpg: This is no picture of a kind that can be read here." in result.stderr
    assert "Analyzing" not in result.stderr  # No progress bar is written into a pipe.
    answers = json.loads(result.stdout)
    assert [Path(answer["file"]).name for answer in answers] == ["second.PNG", "first.png"]
    assert all(len(answer["faces"]) == 1 for answer in answers)


def test_answers_are_written_where_they_are_wanted(album: Path, tmp_path: Path) -> None:
    (album / "broken.jpg").unlink()
    as_json, as_csv = tmp_path / "answers.json", tmp_path / "answers.csv"
    result = analyze(album, "--json", as_json, "--csv", as_csv)
    assert (result.exit_code, result.stdout) == (0, "")
    answers = json.loads(as_json.read_text())
    with as_csv.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:5] == ["file", "time_s", "frame", "cut", "width"]
    assert list(rows[0])[5:9] == ["height", "complete", "faces", "face"]
    assert {"label_set", "model_expression", "raut_version", "error"} <= rows[0].keys()
    assert {row["expression_confident"] for row in rows if row["face"]} <= {"true", "false"}
    assert len(rows) == len(answers) == 2
    assert rows[0]["expression_label"] == answers[0]["faces"][0]["expression"]["label"]
    assert float(rows[0]["box_x"]) == answers[0]["faces"][0]["box"]["x"]
    assert json.loads(analyze(album, "--json", "-").stdout)[0]["faces"] == answers[0]["faces"]


def test_a_table_has_a_row_for_a_photo_without_faces_and_for_one_that_failed(album: Path) -> None:
    Image.new("RGB", (64, 64)).save(album / "empty.heic")
    result = analyze(album, "--csv", "-")
    rows = {Path(row["file"]).name: row for row in csv.DictReader(io.StringIO(result.stdout))}
    assert rows.keys() == {"broken.jpg", "second.PNG", "empty.heic", "first.png"}
    assert rows["broken.jpg"]["error"] == "image_type"
    assert (rows["empty.heic"]["width"], rows["empty.heic"]["face"]) == ("64", "")
    assert rows["first.png"]["error"] == ""


def test_excels_dialects_have_a_mark_indonesian_semicolons_and_decimal_commas(album: Path) -> None:
    plain, excel, indonesian = (
        analyze(album, "--csv", "-", "--csv-dialect", name).stdout
        for name in ("rfc4180", "excel", "excel-id")
    )
    assert excel == "\ufeff" + plain
    rows = list(csv.DictReader(io.StringIO(plain)))
    semicolons = csv.DictReader(io.StringIO(indonesian.removeprefix("\ufeff")), delimiter=";")
    for row, other in zip(rows, semicolons, strict=True):
        assert other["expression_probability"] == row["expression_probability"].replace(".", ",")
        assert other["file"] == row["file"]


def test_no_spreadsheet_computes_a_file_name(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album)
    for name in ("=1+1.png", "@SUM.png", "-1.png"):
        (album / "first.png").rename(album / name)
        result = analyze("--csv", "-", "--", name)
        (row,) = csv.DictReader(io.StringIO(result.stdout))
        assert row["file"] == f"'{name}"
        assert not row["box_x"].startswith("'")
        (album / name).rename(album / "first.png")


def test_hidden_files_are_left_out_and_named_on_request(album: Path) -> None:
    for hidden in ("._first.png", ".thumbnails/a.png", "@eaDir/b.png"):
        (album / hidden).parent.mkdir(exist_ok=True)
        (album / hidden).write_bytes(ASTRONAUT_PNG)
    (album / "broken.jpg").unlink()
    result = analyze(album, "--verbose")
    assert len(json.loads(result.stdout)) == 2
    assert [line.rpartition("/")[2] for line in result.stderr.splitlines()] == [
        f"{name}: hidden, left out." for name in ("._first.png", ".thumbnails", "@eaDir")
    ]
    assert analyze(album).stderr == ""


def test_an_unreadable_folder_is_reported_and_the_rest_is_read(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "deeper":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (album / "broken.jpg").unlink()
    result = analyze(album)
    assert result.exit_code == 1
    assert "deeper: Permission denied. Its pictures are left out." in result.stderr
    assert len(json.loads(result.stdout)) == 1


def test_a_folder_without_a_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("no photo")
    result = analyze(tmp_path)
    assert (result.exit_code, "There is no picture to read" in result.stderr) == (1, True)


def test_a_name_that_is_not_utf8_is_escaped(album: Path) -> None:
    path = os.fsencode(album) + b"/caf\xe9.jpg_large"
    Path(os.fsdecode(path)).write_bytes(ASTRONAUT_PNG)
    (album / "broken.jpg").unlink()
    assert "/caf\\xe9.jpg_large" in analyze(album, "--csv", "-").stdout
    assert "caf\\xe9.tgz: there is no such file" in analyze(os.fsdecode(b"caf\xe9.tgz")).stderr


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_a_file_that_can_t_be_written_is_named_before_any_is_read(album: Path, option: str) -> None:
    result = analyze(album, option, album / "nowhere" / "answers")
    assert result.exit_code == 2
    assert "is no folder that can be written to" in result.stderr
    assert "broken.jpg" not in result.stderr


# What is said of each variable's value.
BAD = {
    ": Input should be greater than or equal to 1 (got '0').": ["RAUT_THREADS=0"],
    ": Input should be greater": ["RAUT_TRUSTED_PROXIES=-1"],
    ": Input should be a valid integer": ["WEB_CONCURRENCY=many", "PORT=http"],
    ": Input should be 'fast'": ["RAUT_EFFORT=heroic"],
    ": Value error": ["RAUT_RATE_LIMIT=many"],
    ": String should match": [
        "RAUT_RATE_LIMIT_STORAGE=mysql://name:hushed@counts",
        'RAUT_TOKENS={"lab": "hushed"}',
    ],
    ": URL scheme": [
        "RAUT_INFERENCE_URL=ftp://name:hushed@models",
        "RAUT_INFERENCE_URL=file:///etc/hushed",
    ],
    " may hold a host, a port and a path, nothing else.": [
        "RAUT_INFERENCE_URL=http://name:hushed@models",
        "RAUT_INFERENCE_URL=http://models:8000/?key=hushed",
    ],
    " must be JSON": ["RAUT_TRUSTED_HOSTS=raut.example.org"],
    "=remote needs RAUT_INFERENCE_URL.": ["RAUT_RUNTIME=remote"],
}


@pytest.mark.parametrize(
    ("setting", "reason"), [(each, reason) for reason in BAD for each in BAD[reason]]
)
def test_a_bad_setting_is_refused_without_its_secrets(
    album: Path, monkeypatch: pytest.MonkeyPatch, setting: str, reason: str
) -> None:
    name, _, value = setting.partition("=")
    monkeypatch.setenv(name, value)
    result = analyze(album)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {name}{reason}")
    assert "hushed" not in result.stderr


def test_a_command_that_fails_leaves_the_file_of_before(
    album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tmp_path / "answers.json"
    before.write_text("the answers of before")
    monkeypatch.setenv("RAUT_MODELS", str(tmp_path))
    result = analyze(album, "--json", before)
    assert (result.exit_code, "holds no models" in result.stderr) == (1, True)
    assert before.read_text() == "the answers of before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["album", "answers.json"]


def test_reading_photos_needs_no_web_server_and_no_tensorflow() -> None:
    code = "import sys, app.__main__; print({'flask', 'tensorflow'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
