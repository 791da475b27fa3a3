import csv
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import skimage.data
from click.testing import CliRunner, Result
from PIL import Image

from app.__main__ import cli
from app.batch.runs import lock_folder

Rows = list[dict[str, Any]]


def write_photos(folder: Path) -> None:
    """Write two photos of faces, one of them named in Latin-1, a scene and two bad pictures."""
    (folder / "deeper").mkdir(parents=True)
    face = Image.fromarray(skimage.data.astronaut())
    face.save(folder / "deeper" / "face.jpg")
    Image.fromarray(skimage.data.rocket()).save(folder / "rocket.PNG")
    (folder / "broken.jpg").write_bytes((folder / "deeper" / "face.jpg").read_bytes()[:400])
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("not a photo")
    face.rotate(10).save(os.fsencode(folder) + b"/caf\xe9.jpg")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder, a tar archive and a list of URLs: four faces, two scenes, three bad pictures."""
    top = tmp_path_factory.mktemp("archive")
    folder = top / "museum"
    write_photos(folder)
    with tarfile.open(top / "shard.tar", "w") as tar:
        tar.add(folder / "notes.txt", "notes.txt")
        tar.add(folder / "deeper" / "face.jpg", "packed/face.jpg")
        tar.add(folder / "rocket.PNG", "packed/rocket.png")
    urls = [(top / name).as_uri() for name in ("museum/deeper/face.jpg", "gone.jpg")]
    (top / "urls.txt").write_text("# Two pictures\n\n" + "\n".join(urls) + "\n")
    return [folder, top / "shard.tar", top / "urls.txt"]


@pytest.fixture(scope="module")
def whole(archive: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of the local engine for the archive, with the report beside it."""
    out = tmp_path_factory.mktemp("whole") / "out"
    result = read(*archive, "--out", out, "--report", out.parent / "report.html")
    assert result.exit_code == 0, result.output
    assert "9 of 9 pictures" in result.stderr
    assert "left 0:00" in result.stderr
    return out


ANALYZE = ("analyze", "--shard-size", "2")


def read(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [*ANALYZE, *map(str, arguments)])


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    line = [sys.executable, "-m", "app", *ANALYZE, *map(str, arguments)]
    return subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_for_the_first_shard(process: "subprocess.Popen[str]") -> None:
    assert process.stderr
    while line := process.stderr.readline():
        if " pictures, " in line:
            return


def list_parts(out: Path) -> list[Path]:
    return sorted(out.glob("part-*.*"))


def load(out: Path) -> Rows:
    return [row for part in list_parts(out) for row in pyarrow.parquet.read_table(part).to_pylist()]


def test_every_picture_has_its_rows(whole: Path) -> None:
    rows = load(whole)
    names = [row["file"].rpartition("/")[2] for row in rows]
    assert names == [
        *("broken.jpg", "caf\\xe9.jpg", "face.jpg", "empty.jpg", "rocket.PNG"),
        *("face.jpg", "rocket.png", "face.jpg", "gone.jpg"),
    ]
    assert [row["picture"] for row in rows] == list(range(1, 10))
    assert [row["face"] for row in rows] == [None, 1, 1, None, None, 1, None, 1, None]
    assert {row["model_expression"] for row in rows} == {rows[0]["model_expression"]}
    assert rows[5]["file"].endswith("shard.tar/packed/face.jpg")


def as_field(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def test_a_bad_picture_is_a_row_with_a_code_and_a_sentence(whole: Path) -> None:
    bad = [(row["error"], row["error_detail"]) for row in load(whole) if row["error"]]
    assert [code for code, _ in bad] == ["image_unreadable", "image_empty", "file_unreadable"]
    assert bad[0][1].startswith("The picture is damaged or breaks off.")
    assert "gone.jpg" in bad[2][1]


def test_faces_are_those_of_analyze_without_out(archive: list[Path], whole: Path) -> None:
    result = read(archive[0], "--csv", "-")
    answers = list(csv.DictReader(io.StringIO(result.stdout)))
    rows = {row["file"]: row for row in load(whole)}
    photo = str(archive[0] / "deeper" / "face.jpg")
    (answer,) = [answer for answer in answers if answer["file"] == photo]
    assert answer == {name: as_field(rows[photo][name]) for name in answer}


def test_each_format_says_the_same(archive: list[Path], whole: Path, tmp_path: Path) -> None:
    for form in ("csv", "jsonl"):
        assert read(*archive, "--out", tmp_path / form, "--format", form).exit_code == 0
    lines, tables = (
        [part.read_text() for part in list_parts(tmp_path / form)] for form in ("jsonl", "csv")
    )
    assert [json.loads(line) for line in "".join(lines).splitlines()] == load(whole)
    fields = [row for table in tables for row in csv.DictReader(io.StringIO(table))]
    assert fields == [{name: as_field(value) for name, value in row.items()} for row in load(whole)]


def test_a_run_with_capitalized_booleans_is_resumed(archive: list[Path], tmp_path: Path) -> None:
    begun: list[str | Path] = [*archive, "--out", tmp_path / "out", "--format", "csv"]
    assert read(*begun).exit_code == 0
    for part in list_parts(tmp_path / "out"):
        text = part.read_text()
        part.write_text(text.replace(",true,", ",True,").replace(",false,", ",False,"))
    ended = read(*begun, "--report", tmp_path / "report.html")
    assert ended.exit_code == 0, ended.output


def test_a_killed_run_is_resumed(archive: list[Path], whole: Path, tmp_path: Path) -> None:
    with start(*archive, "--out", tmp_path) as process:
        wait_for_the_first_shard(process)
        process.kill()
    parts = list_parts(tmp_path)
    done = {part: part.stat().st_mtime_ns for part in parts if part.suffix == ".parquet"}
    assert 0 < len(done) < len(list_parts(whole))
    (archive[0] / "later.jpg").write_bytes(b"It came after the run began.")
    try:
        result = read(*archive, "--out", tmp_path)
    finally:
        (archive[0] / "later.jpg").unlink()
    assert result.exit_code == 0
    assert load(tmp_path) == load(whole)
    assert {part: part.stat().st_mtime_ns for part in done} == done


def test_a_finished_run_does_nothing_again(archive: list[Path], whole: Path) -> None:
    written = [part.stat().st_mtime_ns for part in list_parts(whole)]
    result = read(*archive, "--out", whole)
    assert "holds 9 pictures with 4 faces; 3 pictures couldn't be read." in result.stderr
    assert [part.stat().st_mtime_ns for part in list_parts(whole)] == written


def test_a_folder_resumes_its_run_only(archive: list[Path], whole: Path, tmp_path: Path) -> None:
    other = read(*archive, "--out", whole, "--effort", "fast")
    assert other.exit_code == 1
    assert "holds a run with other effort: balanced, not fast." in other.stderr
    (tmp_path / "part-00001.parquet").touch()
    assert "holds parts of a run" in read(*archive, "--out", tmp_path).stderr


def test_two_runs_do_not_write_into_one_folder(archive: list[Path], tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        result = read(*archive, "--out", tmp_path)
    assert "Another run is writing into" in result.stderr
    assert list_parts(tmp_path) == []


def write_bad_inputs(archive: list[Path], folder: Path) -> Iterator[tuple[Path, str]]:
    """Write inputs that can't be read in full; yield each with the reason given for it."""
    content = bytearray(archive[1].read_bytes())
    with tarfile.open(archive[1]) as tar:
        header = tar.getmembers()[1].offset
    content[header : header + 6] = b"damage"
    for name, data, reason in [
        ("broken.tar", bytes(content), f"it breaks off or is damaged at byte {header}"),
        ("half.tar", archive[1].read_bytes()[:50_000], "can't be read as a tar archive"),
        ("shard.tar.gz", b"", "is compressed"),
        ("path.txt", b"a.jpg\n", "line 1: 'a.jpg' is no URL"),
        ("store.txt", b"nowhere://bucket/a.jpg\n", "nowhere://bucket/a.jpg can't be read here"),
    ]:
        (folder / name).write_bytes(data)
        yield folder / name, reason
    yield folder / "nothing", "there is no such file or folder"


def test_bad_inputs_are_told_before_a_picture_is_read(archive: list[Path], tmp_path: Path) -> None:
    for path, reason in write_bad_inputs(archive, tmp_path):
        result = read(path, "--out", tmp_path / "out")
        assert (result.exit_code, reason in result.stderr) == (1, True), result.output
        assert list_parts(tmp_path / "out") == []
        assert reason in read(path).stderr


@pytest.mark.parametrize("package", ["ray", "pyarrow", "fsspec"])
def test_a_missing_package_is_named_with_how_to_install_it(
    archive: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    result = read(archive[2], "--out", tmp_path, "--engine", "ray")
    assert result.exit_code == 1
    assert f"needs {package}, which is not installed here." in result.stderr
    assert "pip install -r requirements/archive.txt" in result.stderr


@pytest.mark.parametrize("options", [["--engine", "ray"], ["--out", "x", "--csv", "-"]])
def test_options_that_do_not_fit_together_are_refused(options: list[str]) -> None:
    assert read("photo.jpg", *options).exit_code == 2


def test_the_report_counts_and_shows_numbers_of_pictures_only(whole: Path) -> None:
    page = (whole.parent / "report.html").read_text()
    assert "9 pictures, 4 faces;\n  2 pictures in which no face was found,\n  3 that" in page
    assert '<th scope="row">image_empty</th><td class="number">1</td>' in page
    assert "<td>2, 3, 6, 8</td>" in page
    for word in ("face.jpg", "museum", "http:", "https:", "<img", "<script", "url("):
        assert word not in page
