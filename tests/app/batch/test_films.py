import csv
import io
import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import skimage.data
from PIL import Image

from app.vision.imaging.film import Film
from bench.film import change_face, write_film
from bench.moving import move_picture
from tests.app.batch.test_batch import (
    list_parts,
    load,
    read,
    start,
    wait_for_the_first_shard,
    write_photos,
)
from tests.helpers.processes import LOOPBACK, find_listening, list_children

RATE, CHANGE = 10, 1.15


@pytest.fixture(scope="module")
def smile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film in which one of two neighbours' labels changes at `CHANGE`; both stay for 2.4 s."""
    before, after = (
        np.hstack([each[:240, 160:400], each[:240, 160:400]]) for each in change_face()
    )
    after[:, 240:] = before[:, 240:]
    frames = [before if index / 20 < CHANGE else after for index in range(48)]
    return write_film(tmp_path_factory.mktemp("film") / "smile.mp4", frames, rate=20)


def rows_of(*arguments: str | Path) -> list[dict[str, str]]:
    result = read(*arguments, "--csv", "-")
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_a_change_of_the_face_is_told_at_its_time_of_its_track(smile: Path, tmp_path: Path) -> None:
    captions, copy = tmp_path / "smile.vtt", tmp_path / "boxes.mp4"
    rows = rows_of(smile, "--vtt", captions, "--annotated", copy)
    assert [float(row["time_s"]) for row in rows] == [index // 2 / 5 for index in range(24)]
    assert [int(row["frame"]) for row in rows] == [1 + 4 * (index // 2) for index in range(24)]
    assert [row["track"] for row in rows] == ["1", "2"] * 12
    labels = {(row["track"], row["time_s"]): row["expression_label"] for row in rows}
    assert {label for (track, _), label in labels.items() if track == "2"} == {"happy"}
    assert (labels["1", "1.0"], labels["1", "1.2"] != "happy") == ("happy", True)
    assert "00:00:00.000 --> 00:00:01.200\n<v 1>1: happy\n" in captions.read_text()
    assert "00:00:00.000 --> 00:00:02.400\n<v 2>2: happy\n" in captions.read_text()
    film = Film(str(copy))
    drawn = [(time, film.upright(frame)) for time, frame in film.frames()]
    assert [time for time, _ in drawn] == pytest.approx([index / 20 for index in range(48)])
    plain = Film(str(smile)).frame_at(0)[1]
    assert 0.005 < (np.abs(drawn[0][1] - plain.astype(int)).max(axis=2) > 60).mean() < 0.1


def test_films_and_photos_of_a_folder_are_read_together(smile: Path, tmp_path: Path) -> None:
    (tmp_path / "b.MP4").write_bytes(smile.read_bytes())
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "a.jpg")
    result = read(tmp_path, "--fps", "1", "--range", "0:00.5-0:02.1", "--json", "-")
    answers = json.loads(result.stdout)
    named = [(Path(answer["file"]).name, answer.get("time_s")) for answer in answers]
    assert named == [("a.jpg", None), ("b.MP4", 0.5), ("b.MP4", 1.0), ("b.MP4", 2.0)]
    assert [[face.get("track") for face in each["faces"]] for each in answers] == [
        [None],
        *([[1, 2]] * 3),
    ]


def write_bad_films(smile: Path, folder: Path) -> Iterator[tuple[str, str]]:
    content = smile.read_bytes()
    (folder / "half.mp4").write_bytes(content[: len(content) // 2])
    yield "half.mp4", "This is no film of a kind that can be read here, or it is damaged"
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    yield "sound.mp4", "The film holds sound, but no picture."
    (folder / "empty.webm").touch()
    yield "empty.webm", "This is no film"


def test_what_is_wrong_with_a_film_is_said_and_others_are_read(smile: Path, tmp_path: Path) -> None:
    sentences = dict(write_bad_films(smile, tmp_path))
    frames = move_picture(skimage.data.astronaut(), 100, (320, 240), RATE)
    whole = write_film(tmp_path / "breaks.mkv", frames, RATE, options={"g": "10"})
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result = read(tmp_path, "--fps", "1")
    assert result.exit_code == 1
    for name, sentence in sentences.items():
        assert f"{name}: {sentence}" in result.stderr
    assert "breaks.mkv: There is no picture at 10.0 s: the film ends before, or is damaged." in (
        result.stderr
    )
    times = [answer["time_s"] for answer in json.loads(result.stdout)]
    assert times == list(range(len(times)))
    assert 3 <= len(times) <= 7
    assert "no picture at 60.0 s" in read(smile, "--range", "1:00-").stderr


def test_films_need_a_package_that_is_named(
    smile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "app.vision.imaging.film", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "b.mp4").touch()
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "a.jpg")
    sentence = "A film needs av, which is not installed here. Install it with: python -m pip"
    alone, among = read(smile), read(tmp_path)
    assert (alone.exit_code, among.exit_code) == (1, 1)
    assert sentence in alone.stderr
    assert sentence in among.stderr
    assert len(json.loads(among.stdout)) == 1


def test_tracks_end_at_a_cut_in_one_pass_and_in_shards(tmp_path: Path) -> None:
    shot = skimage.data.astronaut()
    next_shot = np.array(Image.fromarray(skimage.data.rocket()).resize((512, 512)))
    next_shot[40:220, 140:300] = shot[40:220, 140:300]
    film = write_film(tmp_path / "cut.mp4", [shot] * 10 + [next_shot] * 10, rate=10)
    rows = rows_of(film)
    assert [row["track"] for row in rows] == ["1"] * 5 + ["2"] * 5
    assert [row["cut"] for row in rows] == ["false"] * 5 + ["true"] + ["false"] * 4
    assert read(film, "--out", tmp_path / "out", "--shard-size", "5").exit_code == 0
    shards = [(row["track"], row["cut"]) for row in load(tmp_path / "out")]
    assert shards == [(int(row["track"]), row["cut"] == "true") for row in rows]


def test_a_film_in_an_archive_is_named_and_left_out(smile: Path, tmp_path: Path) -> None:
    archive = tmp_path / "shard.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(smile, "smile.mp4")
    result = read(archive)
    assert result.exit_code == 1
    assert "shard.tar/smile.mp4: a film in an archive can't be read; unpack it." in result.stderr


@pytest.mark.parametrize("options", [["--range", "2-1"], ["--range", "x"], ["--vtt", "-"]])
def test_options_of_films_are_checked(options: list[str]) -> None:
    assert read("folder", *options).exit_code == 2


@pytest.fixture(scope="module")
def whole(smile: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("whole")
    assert read(smile, "--out", out).exit_code == 0
    rows = load(out)
    assert [row["track"] for row in rows] == [1, 2] * 12
    return rows


def test_a_killed_film_is_resumed(smile: Path, whole: list[dict[str, Any]], tmp_path: Path) -> None:
    with start(smile, "--out", tmp_path) as process:
        wait_for_the_first_shard(process)
        process.kill()
    assert len(list_parts(tmp_path)) < 6
    result = read(smile, "--out", tmp_path, "--vtt", tmp_path / "smile.vtt")
    assert result.exit_code == 0, result.output
    assert "12 pictures with 24 faces" in result.stderr
    assert load(tmp_path) == whole
    assert "<v 2>2: happy" in (tmp_path / "smile.vtt").read_text()


def test_ray_reads_photos_and_parts_of_a_film_and_gives_the_same_rows_when_a_worker_is_killed(
    smile: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    write_photos(archive)
    here, by_ray = tmp_path / "here", tmp_path / "ray"
    assert read(archive, smile, "--out", here).exit_code == 0
    with start(archive, smile, "--out", by_ray, "--engine", "ray", "--workers", "2") as process:
        wait_for_the_first_shard(process)
        children = list_children(process.pid)
        addresses = {address for child in children for address in find_listening(child.pid)}
        next(child for child in children if "MapWorker" in child.command).kill()
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert load(by_ray) == load(here)
    assert addresses
    assert addresses <= LOOPBACK
