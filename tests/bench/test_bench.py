import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import BenchmarkError, environments, measurements
from bench.__main__ import cli
from bench.environments import Installed, Peer, install_peer
from bench.measurements import (
    PARTS,
    Bench,
    measure_bulk,
    measure_cold,
    measure_networks,
    measure_photos,
    measure_server,
)
from bench.report import merge_figures, write_report
from bench.serving import find_free_port
from bench.timing import fit_slope
from tests.helpers.servers import FRAME

COST = {"seconds": 1.0, "megabytes": 2.0}
FAKE = """
import json, sys
for line in sys.stdin:
    print("a note of a library", flush=True)
    print(json.dumps({"faces": [{}]}), flush=True)
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(FRAME)
    sources = {"fake": FAKE, "raut": FAKE, "broken": "raise SystemExit(1)"}
    peers = {
        name: Installed((sys.executable, "-c", source), COST) for name, source in sources.items()
    }
    return Bench(peers, [photo], rounds=2)


def test_photos_are_timed_failed_peers_named_and_parts_merged(bench: Bench, tmp_path: Path) -> None:
    figures = measure_photos(bench)
    assert figures["milliseconds"]["photo"]["fake"]["count"] == 2
    assert figures["faces"] == {"photo": {"fake": 1, "raut": 1}}
    assert figures["memory"]["fake"]["peak_megabytes"] > 1
    assert set(figures["failed"]) == {"broken"}
    file = tmp_path / "results" / "day.json"
    merge_figures(file, {"photos": figures})
    figures = merge_figures(file, {"peers": {"missing": {"none": "can't be installed"}}})
    report = write_report(figures)
    assert "| photo |" in report
    assert "| none | can't be installed |" in report
    assert "## Time per photo, ms" in report


def test_a_cold_start_has_its_memory(bench: Bench) -> None:
    figures = measure_cold(bench)
    assert figures["first_answer"]["fake"]["peak_megabytes"]["median"] > 1
    assert "broken" in figures["failed"]


def test_a_failed_installation_is_explained(tmp_path: Path) -> None:
    peer = Peer("none", tmp_path / "none.cjs", (f"{tmp_path}/no-such-package",))
    with pytest.raises(BenchmarkError, match="can't be installed"):
        install_peer(peer, tmp_path)


def test_the_slope_of_a_square_is_two() -> None:
    assert fit_slope([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_networks_are_compared_with_the_peak_of_the_core(bench: Bench) -> None:
    figures = measure_networks(bench)
    assert figures["networks"].keys() >= {"expression x 1", "gender x 6", "face_classifier x 1"}
    for network in figures["networks"].values():
        assert network["milliseconds"]["median"] > 0
        assert network["exact_billions_a_second"] > 0
    assert "Networks, by faces in a batch" in write_report({"networks": figures})


def test_each_stage_is_compared_with_the_optimum(bench: Bench) -> None:
    figures = PARTS["stages"](bench)
    stages = figures["pictures"]["photo"]
    ours = {"decode", "working copy", "cascade", "face classifier", "expression", "gender"}
    assert ours <= stages.keys()
    for stage in stages.values():
        assert stage["share"] == stage["best"] / stage["median"] > 0
    assert "| photo |" in write_report({"stages": figures})


def test_the_command_line_is_timed_on_many_photos(bench: Bench) -> None:
    figures = measure_bulk(replace(bench, rounds=1))
    assert figures["photo"]["faces_per_second"] == figures["photo"]["photos_per_second"] > 0
    assert "| photo |" in write_report({"bulk": figures})


def test_growth_is_measured_with_its_slope(bench: Bench) -> None:
    figures = {"faces": PARTS["faces"](bench)}
    assert [point["x"] for point in figures["faces"]["points"]] == [1, 2, 4, 8, 16, 32, 64]
    assert "Slope: " in write_report(figures)


def test_a_failed_part_is_named_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = Peer("raut", environments.DRIVERS / "raut.py", ())
    monkeypatch.setattr("bench.__main__.PEERS", (ours,))
    monkeypatch.setattr(
        "bench.__main__.install_peer", lambda *_: Installed((sys.executable, "-c", FAKE), COST)
    )

    def fail(_: Bench) -> None:
        raise BenchmarkError("hangs")

    monkeypatch.setitem(measurements.PARTS, "live", fail)
    parts = ("--only", "live", "--only", "cold", "--quick", "--results", str(tmp_path))
    result = CliRunner().invoke(cli, ["peers", *parts])
    assert result.exit_code == 0, result.output
    assert "| live | hangs |" in result.output
    assert "## First answer of a new process" in result.output
    assert list(tmp_path.glob("*.json"))


def test_a_server_is_measured_by_its_clients(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "CLIENTS", (1, 4))
    monkeypatch.setattr(measurements, "SERVER_SECONDS", 1.0)
    figures = measurements.measure_clients(bench)
    one, four = figures["points"]
    assert one["count"] > 0
    assert four["count"] > 0
    assert "Time against clients" in write_report({"clients": figures})


def test_a_server_is_measured_by_its_workers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measurements, "WORKERS", (1,))
    monkeypatch.setattr(measurements, "SERVER_SECONDS", 0.5)
    monkeypatch.setattr(measurements, "WARM_UP_SECONDS", 0.5)
    figures = measure_server(bench)
    for workers in figures.values():
        assert workers["photos_per_second"] > 0
        assert workers["memory_after_load_mb"] > 0
    assert "The server, by workers" in write_report({"server": figures})


@pytest.mark.parametrize("command", ["live", "load"])
def test_a_missing_server_is_reported_in_a_sentence(bench: Bench, command: str) -> None:
    url = f"http://127.0.0.1:{find_free_port()}"
    options = ("--url", url, "--picture", str(bench.pictures[0]))
    result = CliRunner().invoke(cli, [command, *options])
    assert result.exit_code == 1
    assert f"Error: {url} doesn't answer: " in result.output


def test_the_same_photos_give_the_same_archive(tmp_path: Path) -> None:
    for name in ("first", "second"):
        line = ["archive", str(tmp_path), str(tmp_path / name), "--count", "3"]
        assert CliRunner().invoke(cli, line).exit_code == 0
    made = [sorted((tmp_path / name).rglob("*.jpg")) for name in ("first", "second")]
    assert len(made[0]) == 3
    assert [path.read_bytes() for path in made[0]] == [path.read_bytes() for path in made[1]]
