"""Test the measurements beside peers, with peers that do nothing."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import archive, environments, measurements
from bench.__main__ import cli
from bench.drivers import started
from bench.environments import Installed, Peer, PeerError, install_peer
from bench.measurements import (
    Bench,
    measure_bulk,
    measure_cold,
    measure_each_stage,
    measure_faces,
    measure_networks,
    measure_photos,
    measure_server,
)
from bench.pictures import make_pictures
from bench.report import merge_figures, plot_growth, write_report
from bench.timing import fit_slope

FAKE = """
import json, sys
for line in sys.stdin:
    print("a note of a library", flush=True)
    print(json.dumps({"faces": 1}), flush=True)
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    peers = {
        "fake": Installed((sys.executable, "-c", FAKE), 1.0, 2.0),
        "raut": Installed((sys.executable, "-c", FAKE), 1.0, 2.0),
        "broken": Installed((sys.executable, "-c", "raise SystemExit(1)"), 1.0, 2.0),
    }
    return Bench(peers, [tmp_path / "photo.jpg"], rounds=2)


def test_photos_are_timed_and_a_peer_that_ends_is_named(bench: Bench) -> None:
    figures = measure_photos(bench)
    assert figures["milliseconds"]["photo"]["fake"]["count"] == 2
    assert figures["faces"] == {"photo": {"fake": 1, "raut": 1}}
    assert figures["memory"]["fake"]["peak_megabytes"] > 1
    assert set(figures["failed"]) == {"broken"}


def test_a_cold_start_tells_its_memory(bench: Bench) -> None:
    figures = measure_cold(bench)
    assert figures["first_answer"]["fake"]["peak_megabytes"]["median"] > 1
    assert "broken" in figures["failed"]


def test_a_driver_that_ended_says_so(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit(1)")
    with started(command) as driver, pytest.raises(PeerError):
        driver.ask(tmp_path)


def test_a_peer_that_cannot_be_installed_says_why(tmp_path: Path) -> None:
    peer = Peer("none", tmp_path / "none.py", (f"{tmp_path}/no-such-package",))
    with pytest.raises(PeerError, match="can't be installed"):
        install_peer(peer, tmp_path)


def test_parts_are_merged_into_one_file_and_told_as_tables(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "results" / "day.json"
    merge_figures(file, {"photos": measure_photos(bench)})
    figures = merge_figures(file, {"peers": {"missing": {"none": "can't be installed"}}})
    report = write_report(figures)
    assert "| photo |" in report
    assert "| none | can't be installed |" in report
    assert "## Times as long as ours" in report


def test_the_slope_of_a_square_is_two() -> None:
    assert fit_slope([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_networks_are_set_against_what_the_core_can_do(bench: Bench) -> None:
    figures = measure_networks(bench)
    assert figures["networks"].keys() >= {"expression x 1", "gender x 6", "face_classifier x 1"}
    for network in figures["networks"].values():
        assert network["milliseconds"]["median"] > 0
        assert network["exact_billions_a_second"] > 0
    assert "Networks, by faces in a call" in write_report({"networks": figures})


def test_each_stage_is_set_against_what_the_machine_does_at_best(tmp_path: Path) -> None:
    pictures = [path for path in make_pictures(tmp_path) if path.stem == "512x512"]
    figures = measure_each_stage(Bench({}, pictures, rounds=1))
    stages = figures["pictures"]["512x512"]
    assert {"decode", "copy", "cascade", "face_classifier", "expression", "gender"} <= stages.keys()
    for stage in stages.values():
        assert stage["share"] == stage["best"] / stage["median"] > 0
    assert "| 512x512 |" in write_report({"stages": figures})


def test_the_command_line_is_timed_on_many_photos(tmp_path: Path) -> None:
    pictures = [path for path in make_pictures(tmp_path) if path.stem == "640x480"]
    figures = measure_bulk(Bench({}, pictures, rounds=1))
    assert figures["640x480"]["faces_per_second"] == figures["640x480"]["photos_per_second"] > 0
    assert "| 640x480 |" in write_report({"bulk": figures})


def test_growth_is_plotted_with_its_slope(bench: Bench, tmp_path: Path) -> None:
    figures = {"faces": measure_faces(bench)}
    assert [point["x"] for point in figures["faces"]["points"]] == [1, 2, 4, 8, 16, 32, 64]
    plot_growth(figures, tmp_path, "day")
    assert (tmp_path / "day-faces.png").is_file()


def test_a_part_that_fails_is_named_and_the_others_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = Peer("raut", environments.DRIVERS / "raut.py", ())
    monkeypatch.setattr("bench.__main__.PEERS", (ours,))
    monkeypatch.setattr(
        "bench.__main__.install_peer", lambda *_: Installed((sys.executable, "-c", FAKE), 1.0, 2.0)
    )

    def fail(_: Bench) -> None:
        raise PeerError("hangs")

    monkeypatch.setitem(measurements.PARTS, "live", fail)
    parts = ("--only", "live", "--only", "cold", "--quick", "--results", str(tmp_path))
    told = CliRunner().invoke(cli, ["peers", *parts])
    assert told.exit_code == 0, told.output
    assert "| live | hangs |" in told.output
    assert "## First answer of a new process" in told.output
    assert list(tmp_path.glob("*.json"))


def test_a_server_is_measured_with_growing_crowds(
    bench: Bench, astronaut_png: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measurements, "CLIENTS", (1, 4))
    monkeypatch.setattr(measurements, "SERVER_SECONDS", 1.0)
    (tmp_path / "photo.jpg").write_bytes(astronaut_png)
    with ThreadPoolExecutor(1) as pool:  # A browser's tests leave a loop running in this thread.
        figures = pool.submit(measurements.measure_clients, bench).result()
    one, four = figures["points"]
    assert one["count"] > 0
    assert four["count"] > 0
    assert "Time against clients" in write_report({"clients": figures})


def test_a_server_is_measured_by_its_workers(
    bench: Bench, astronaut_png: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measurements, "WORKERS", (1,))
    monkeypatch.setattr(measurements, "SERVER_SECONDS", 0.5)
    monkeypatch.setattr(measurements, "WARM_UP_SECONDS", 0.5)
    (tmp_path / "photo.jpg").write_bytes(astronaut_png)
    with ThreadPoolExecutor(1) as pool:
        figures = pool.submit(measure_server, bench).result()
    for workers in figures.values():
        assert workers["photos_per_second"] > 0
        assert workers["memory_after_load_mb"] > 0
    assert "The server, by workers" in write_report({"server": figures})


def test_an_archive_is_made_anew_from_the_same_photos(tmp_path: Path) -> None:
    for name in ("first", "second"):
        line = [str(tmp_path), str(tmp_path / name), "--count", "3"]
        assert CliRunner().invoke(archive.archive, line).exit_code == 0
    made = [sorted((tmp_path / name).rglob("*.jpg")) for name in ("first", "second")]
    assert len(made[0]) == 3
    assert [path.read_bytes() for path in made[0]] == [path.read_bytes() for path in made[1]]
