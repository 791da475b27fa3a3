"""Measure: each function is one part of a run and returns its figures."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.settings import count_processors
from app.vision.detection.detector import EFFORTS
from app.vision.models.classifiers import load_classifier
from bench.drivers import Driver, started
from bench.environments import ROOT, Installed, PeerError
from bench.live import measure_streams
from bench.load import measure_load, measure_side_by_side
from bench.pictures import SIX_FACES, make_group, make_growing_groups, make_growing_photos
from bench.report import OURS
from bench.serving import own_server, usage
from bench.stages import load_face_reader, measure_machine, measure_stages
from bench.timing import fit_slope, pinned, repeat, summarize

BULK_SECONDS = 300
GROUP_ROUNDS = 3
SERVER_SECONDS = 8.0
WARM_UP_SECONDS = 2.0
WORKERS = (1, 2)
CLIENTS = (1, 2, 4, 8, 16, 32)
BATCHES = (1, 6)  # faces in one call of a network


@dataclass(frozen=True)
class Bench:
    """Hold what is measured: installed peers, pictures and how often each is taken."""

    peers: dict[str, Installed]
    pictures: Sequence[Path]
    rounds: int


def measure_photos(bench: Bench) -> dict[str, Any]:
    """Time photo to answer for each peer and picture, in turns, after one answer not counted."""
    times: dict[str, dict[str, list[float]]] = {}
    faces: dict[str, dict[str, int]] = {}
    stages: dict[str, list[dict[str, float]]] = {}
    failed: dict[str, str] = {}
    memory: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        drivers = {n: stack.enter_context(started(p.command)) for n, p in bench.peers.items()}
        for picture in bench.pictures:
            for turn in range(bench.rounds + 1):
                for name, driver in drivers.items():
                    answer = None if name in failed else _try(driver, picture, name, failed)
                    if answer is None:
                        continue
                    faces.setdefault(picture.stem, {})[name] = answer[1]["faces"]
                    if turn:
                        row = times.setdefault(picture.stem, {}).setdefault(name, [])
                        row.append(answer[0])
                        if name == OURS:
                            stages.setdefault(picture.stem, []).append(answer[1])
        memory = {name: each.memory() for name, each in drivers.items() if name not in failed}
    return {
        "milliseconds": {
            picture: {name: summarize(values) for name, values in row.items()}
            for picture, row in times.items()
        },
        "faces": faces,
        "stages": {
            picture: {
                stage: summarize([each[stage] for each in answers])
                for stage in answers[0]
                if stage != "faces"
            }
            for picture, answers in stages.items()
        },
        "memory": memory,
        "failed": failed,
    }


def measure_cold(bench: Bench) -> dict[str, Any]:
    """Time a fresh process from its start to the first answer, and take its memory then."""
    figures: dict[str, dict[str, list[float]]] = {}
    failed: dict[str, str] = {}
    for _ in range(bench.rounds):
        for name, peer in bench.peers.items():
            begun = time.perf_counter()
            with started(peer.command) as driver:
                if _try(driver, bench.pictures[0], name, failed) is None:
                    continue
                seconds = time.perf_counter() - begun
                row = figures.setdefault(name, {})
                for kind, value in {"seconds": seconds, **driver.memory()}.items():
                    row.setdefault(kind, []).append(value)
    return {
        "first_answer": {
            name: {kind: summarize(values) for kind, values in row.items()}
            for name, row in figures.items()
        },
        "failed": failed,
    }


def measure_install(bench: Bench) -> dict[str, Any]:
    """Report what each one's install took, of ours with the application and its models."""
    return {
        name: {"seconds": peer.seconds, "megabytes": peer.megabytes}
        for name, peer in bench.peers.items()
    }


def measure_megapixels(bench: Bench) -> dict[str, Any]:
    """Time our answer against megapixels; the slope is that above 2 megapixels."""
    return _measure_growth(bench, make_growing_photos, lambda x: x > 2)


def measure_faces(bench: Bench) -> dict[str, Any]:
    """Time our answer against faces; the slope is that up to 16 faces."""
    return _measure_growth(bench, make_growing_groups, lambda x: x <= 16)


def measure_group(bench: Bench) -> dict[str, Any]:
    """Time reading faces of 40 pixels in 24 megapixels, by each effort, on one core."""
    figures: dict[str, Any] = {}
    with pinned(), tempfile.TemporaryDirectory() as folder:
        analyzer = load_face_reader()
        data = make_group(Path(folder)).read_bytes()
        for effort in EFFORTS:
            found = analyzer.analyze_file(data, effort=effort).faces
            taken = repeat(partial(analyzer.analyze_file, data, effort=effort), GROUP_ROUNDS)
            figures[effort] = {"milliseconds": taken, "faces": float(len(found))}
    return figures


def measure_bulk(bench: Bench) -> dict[str, Any]:
    """Time a command line on each of two cores at once, on photos of one face and of six."""
    by_name = {picture.stem: picture for picture in bench.pictures}
    known = [name for name in ("640x480", SIX_FACES) if name in by_name]
    chosen = {name: by_name[name] for name in known or list(by_name)[:1]}
    return {name: _read_in_bulk(each, 20 * bench.rounds) for name, each in chosen.items()}


def measure_each_stage(bench: Bench) -> dict[str, Any]:
    """Time each stage of our reading alone, beside what the machine could do at best."""
    return measure_stages(bench.pictures, bench.rounds)


def measure_networks(bench: Bench) -> dict[str, Any]:
    """Report how near each network comes to the multiply-adds of a large product of matrices.

    The product is one of single precision, as the exact networks compute; what is served may
    compute in 8 bits and overtake it.
    """
    figures: dict[str, Any] = {}
    with pinned():
        machine = measure_machine(bench.rounds)
        for folder in sorted(path.parent for path in (ROOT / "models").glob("*/card.json")):
            served, exact = load_classifier(folder), load_classifier(folder, "onnx")
            shape = served.card.shape
            cost = served.card.figures["speed"]["multiply_adds"]
            for count in BATCHES:
                crops = np.zeros((count, shape.size, shape.size, shape.channels), np.uint8)
                spent, exactly = (
                    repeat(partial(classifier.network.logits, crops), bench.rounds)
                    for classifier in (served, exact)
                )
                rate = count * cost / exactly["median"]
                figures[f"{folder.name} x {count}"] = {
                    "multiply_adds_millions": count * cost / 1e6,
                    "milliseconds": spent,
                    "exact_milliseconds": exactly,
                    "exact_billions_a_second": rate / 1e6,
                    "exact_share_of_peak": rate / machine.multiply_adds,
                }
    return {"machine": machine.to_json(), "networks": figures}


def measure_server(bench: Bench) -> dict[str, Any]:
    """Measure the server with 1 and 2 workers: photos a second, and delays at half of them.

    Nobody is refused while the most is measured, as all who ask have room to wait.
    """
    figures: dict[str, Any] = {}
    photo, side_by_side = bench.pictures[0], 2 * count_processors()
    for workers in WORKERS:
        room = {"WEB_CONCURRENCY": str(workers), "RAUT_QUEUE_SIZE": str(side_by_side)}
        with own_server(**room) as (url, pid):
            rest = usage(pid).memory_mb
            # Each worker's first photos warm it up.
            measure_side_by_side(photo, side_by_side, WARM_UP_SECONDS, url)
            began = time.perf_counter()
            served = len(measure_side_by_side(photo, side_by_side, SERVER_SECONDS, url))
            # The last ones are answered after the end.
            rate = served / (time.perf_counter() - began)
            measured = measure_load(photo, 64, SERVER_SECONDS, [rate / 2], url)
            loaded = measured["rounds"][0]
            figures[str(workers)] = {
                "photos_per_second": rate,
                "half_rate": rate / 2,
                "half_p50_ms": loaded["answered_p50_ms"],
                "half_p95_ms": loaded["answered_p95_ms"],
                "half_refused": loaded["refused"],
                "memory_at_rest_mb": rest,
                "memory_after_load_mb": usage(pid).memory_mb,
            }
    return figures


def measure_clients(bench: Bench) -> dict[str, Any]:
    """Time a photo's answer against how many clients ask at the same time, none refused."""
    points = []
    with own_server(RAUT_QUEUE_SIZE=str(max(CLIENTS))) as (url, _):
        for count in CLIENTS:
            delays = measure_side_by_side(bench.pictures[0], count, SERVER_SECONDS, url)
            points.append({"x": count, **summarize(delays)})
    slope = fit_slope([point["x"] for point in points], [point["median"] for point in points])
    return {"points": points, "slope": slope}


def measure_live(bench: Bench) -> dict[str, Any]:
    """Measure one live camera that sends as fast as answers come."""
    return measure_streams(bench.pictures[0], 1, SERVER_SECONDS, 0, None)["clients"][0]


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "photos": measure_photos,
    "cold": measure_cold,
    "install": measure_install,
    "megapixels": measure_megapixels,
    "faces": measure_faces,
    "group": measure_group,
    "bulk": measure_bulk,
    "stages": measure_each_stage,
    "networks": measure_networks,
    "server": measure_server,
    "clients": measure_clients,
    "live": measure_live,
}


def _measure_growth(
    bench: Bench, make: Callable[[Path], dict[float, Path]], counts: Callable[[float], bool]
) -> dict[str, Any]:
    points = []
    with (
        tempfile.TemporaryDirectory() as folder,
        started(bench.peers[OURS].command) as driver,
    ):
        for amount, picture in make(Path(folder)).items():
            answers = [driver.ask(picture) for _ in range(bench.rounds + 1)][1:]
            time_taken = summarize([milliseconds for milliseconds, _ in answers])
            points.append({"x": amount, "faces": answers[0][1]["faces"], **time_taken})
    fitted = [point for point in points if counts(point["x"])]
    slope = fit_slope([p["x"] for p in fitted], [p["median"] for p in fitted])
    return {"points": points, "slope": slope}


def _try(
    driver: Driver, picture: Path, name: str, failed: dict[str, str]
) -> tuple[float, dict[str, Any]] | None:
    try:
        return driver.ask(picture)
    except PeerError as error:
        failed[name] = str(error)
        return None


def _read_in_bulk(photo: Path, each: int) -> dict[str, float]:
    cores = sorted(os.sched_getaffinity(0))[:2]
    command = [sys.executable, "-m", "app", "analyze", *[str(photo.resolve())] * each]
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        tables = [Path(folder) / f"{core}.csv" for core in cores]
        began = time.perf_counter()
        running = [
            subprocess.Popen(["taskset", "-c", str(core), *command, "--csv", str(table)], cwd=ROOT)
            for core, table in zip(cores, tables, strict=True)
        ]
        for process in running:
            stack.callback(process.kill)
        try:
            refused = any(process.wait(BULK_SECONDS) for process in running)
        except subprocess.TimeoutExpired as error:
            raise PeerError(f"python -m app analyze took {BULK_SECONDS} seconds") from error
        if refused:
            raise PeerError("python -m app analyze refused a photo")
        seconds = time.perf_counter() - began
        faces = sum(len(table.read_text().splitlines()) - 1 for table in tables)
    return {
        "cores": len(cores),
        "photos_per_second": each * len(cores) / seconds,
        "faces_per_second": faces / seconds,
    }
