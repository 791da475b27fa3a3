"""Measure: each function is one part of a run and returns its figures."""

import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from app.settings import count_processors
from app.vision.detection.detector import EFFORTS
from app.vision.models.classifiers import load_classifier
from bench import ROOT, BenchmarkError
from bench.drivers import started
from bench.environments import Installed
from bench.live import measure_streams
from bench.load import Clients
from bench.pictures import SIX_FACES, make_group, make_growing_groups, make_growing_photos
from bench.report import OURS
from bench.serving import own_server, usage
from bench.stages import load_face_reader, measure_machine, measure_stages
from bench.timing import fit_slope, pinned, repeat, summarize, summarize_rows

BULK_SECONDS = 300
GROUP_ROUNDS = 3
SERVER_SECONDS = 8.0
WARM_UP_SECONDS = 2.0
WORKERS = (1, 2)
CLIENTS = (1, 2, 4, 8, 16, 32)
BATCHES = (1, 6)  # faces in one batch

Rows = defaultdict[str, defaultdict[str, list[float]]]


@dataclass(frozen=True)
class Bench:
    """Hold the installed peers, the photos and how often each is measured."""

    peers: dict[str, Installed]
    pictures: Sequence[Path]
    rounds: int


@contextmanager
def recording(failed: dict[str, str], name: str) -> Iterator[None]:
    """Record a failure under a name instead of raising it."""
    try:
        yield
    except BenchmarkError as error:
        failed[name] = str(error)


def _rows() -> Rows:
    return defaultdict(lambda: defaultdict(list))


def measure_photos(bench: Bench) -> dict[str, Any]:
    """Time each photo with each peer in turn, after one warm-up round."""
    times = _rows()
    faces: dict[str, dict[str, int]] = defaultdict(dict)
    memory: dict[str, dict[str, float]] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        drivers = {n: stack.enter_context(started(p.command)) for n, p in bench.peers.items()}
        for picture in bench.pictures:
            for number in range(bench.rounds + 1):
                for name in [name for name in drivers if name not in failed]:
                    with recording(failed, name):
                        milliseconds, answer = drivers[name].analyze(picture)
                        faces[picture.stem][name] = len(answer["faces"])
                        if number:
                            times[picture.stem][name].append(milliseconds)
        memory = {name: drivers[name].memory() for name in drivers if name not in failed}
    return {
        "milliseconds": summarize_rows(times),
        "faces": faces,
        "memory": memory,
        "failed": failed,
    }


def measure_cold(bench: Bench) -> dict[str, Any]:
    """Time a new process from its start to the first answer, and read its memory then."""
    figures = _rows()
    failed: dict[str, str] = {}
    for _ in range(bench.rounds):
        for name, peer in bench.peers.items():
            begun = time.perf_counter()
            with recording(failed, name), started(peer.command) as driver:
                driver.analyze(bench.pictures[0])
                seconds = time.perf_counter() - begun
                for kind, value in {"seconds": seconds, **driver.memory()}.items():
                    figures[name][kind].append(value)
    return {"first_answer": summarize_rows(figures), "failed": failed}


def measure_group(bench: Bench) -> dict[str, Any]:
    """Time each effort for faces of 40 pixels in 24 megapixels, on one core."""
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
    """Time the command line on two cores at once, on photos of one face and of six."""
    by_name = {picture.stem: picture for picture in bench.pictures}
    known = [name for name in ("640x480", SIX_FACES) if name in by_name]
    return {
        name: _analyze_in_bulk(by_name[name], 20 * bench.rounds)
        for name in known or list(by_name)[:1]
    }


def measure_networks(bench: Bench) -> dict[str, Any]:
    """Compare each network's multiply-adds a second with those of a large matrix product.

    The product is in single precision, as are the exact networks; the quantized ones may be faster.
    """
    figures: dict[str, Any] = {}
    with pinned():
        machine = measure_machine(bench.rounds)
        for folder in sorted(path.parent for path in (ROOT / "models").glob("*/card.json")):
            served, exact = load_classifier(folder), load_classifier(folder, "onnx")
            shape = served.card.shape
            for count in BATCHES:
                crops = np.zeros((count, shape.size, shape.size, shape.channels), np.uint8)
                served_ms, exact_ms = (
                    repeat(partial(classifier.network.logits, crops), bench.rounds)
                    for classifier in (served, exact)
                )
                cost = count * served.card.figures["speed"]["multiply_adds"]
                rate = cost / exact_ms["median"]
                figures[f"{folder.name} x {count}"] = {
                    "multiply_adds_millions": cost / 1e6,
                    "milliseconds": served_ms,
                    "exact_milliseconds": exact_ms,
                    "exact_billions_a_second": rate / 1e6,
                    "exact_share_of_peak": rate / machine.multiply_adds,
                }
    return {"machine": machine.to_json(), "networks": figures}


def measure_server(bench: Bench) -> dict[str, Any]:
    """Measure the server's capacity with 1 and 2 workers, and the latency at half of it."""
    figures: dict[str, Any] = {}
    photo, concurrency = bench.pictures[0].read_bytes(), 2 * count_processors()
    for workers in WORKERS:
        # The queue has room for all clients, so that none is refused at full load.
        room = {"WEB_CONCURRENCY": str(workers), "RAUT_QUEUE_SECONDS": "60"}
        with own_server(**room) as (url, pid), closing(Clients(url, photo, 64)) as clients:
            at_rest = usage(pid).memory_mb
            clients.closed_loop(WARM_UP_SECONDS, concurrency)
            began = time.perf_counter()
            served = len(clients.closed_loop(SERVER_SECONDS, concurrency).answered)
            # The last answers come after SERVER_SECONDS.
            rate = served / (time.perf_counter() - began)
            half = clients.open_loop(rate / 2, SERVER_SECONDS).to_json()
            figures[str(workers)] = {
                "photos_per_second": rate,
                "half_rate": rate / 2,
                "half_p50_ms": half["answered_p50_ms"],
                "half_p95_ms": half["answered_p95_ms"],
                "half_refused": half["refused"],
                "memory_at_rest_mb": at_rest,
                "memory_after_load_mb": usage(pid).memory_mb,
            }
    return figures


def measure_clients(bench: Bench) -> dict[str, Any]:
    """Time a photo against the number of clients at a time, none of which is refused."""
    points = []
    photo = bench.pictures[0].read_bytes()
    with (
        own_server(RAUT_QUEUE_SECONDS="60") as (url, _),
        closing(Clients(url, photo, max(CLIENTS))) as clients,
    ):
        for count in CLIENTS:
            delays = clients.closed_loop(SERVER_SECONDS, count).answered
            points.append({"x": count, **summarize(delays)})
    return _growth(points)


def measure_live(bench: Bench) -> dict[str, Any]:
    """Measure one camera that sends as fast as answers come."""
    client: dict[str, Any]
    (client,) = measure_streams(bench.pictures[0], 1, SERVER_SECONDS, 0, None)["clients"]
    return client


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "photos": measure_photos,
    "cold": measure_cold,
    "install": lambda bench: {name: peer.cost for name, peer in bench.peers.items()},
    # The slope is fitted above 2 megapixels, and up to 16 faces.
    "megapixels": lambda bench: _measure_growth(bench, make_growing_photos, lambda x: x > 2),
    "faces": lambda bench: _measure_growth(bench, make_growing_groups, lambda x: x <= 16),
    "group": measure_group,
    "bulk": measure_bulk,
    "stages": lambda bench: measure_stages(bench.pictures, bench.rounds),
    "networks": measure_networks,
    "server": measure_server,
    "clients": measure_clients,
    "live": measure_live,
}


def _measure_growth(
    bench: Bench, make: Callable[[Path], dict[float, Path]], counts: Callable[[float], bool]
) -> dict[str, Any]:
    points = []
    with tempfile.TemporaryDirectory() as folder, started(bench.peers[OURS].command) as driver:
        for x, picture in make(Path(folder)).items():
            answers = [driver.analyze(picture) for _ in range(bench.rounds + 1)][1:]
            spent = summarize([milliseconds for milliseconds, _ in answers])
            points.append({"x": x, "faces": len(answers[0][1]["faces"]), **spent})
    return _growth(points, counts)


def _growth(
    points: list[dict[str, Any]], counts: Callable[[float], bool] = lambda x: True
) -> dict[str, Any]:
    fitted = [point for point in points if counts(point["x"])]
    slope = fit_slope([p["x"] for p in fitted], [p["median"] for p in fitted])
    return {"points": points, "slope": slope}


def _analyze_in_bulk(photo: Path, count: int) -> dict[str, float]:
    cores = sorted(os.sched_getaffinity(0))[:2]
    command = [sys.executable, "-m", "app", "analyze", *[str(photo.resolve())] * count]
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
            failed = any(process.wait(BULK_SECONDS) for process in running)
        except subprocess.TimeoutExpired as error:
            raise BenchmarkError(f"python -m app analyze took {BULK_SECONDS} seconds") from error
        if failed:
            raise BenchmarkError("python -m app analyze couldn't read a photo")
        seconds = time.perf_counter() - began
        faces = sum(len(table.read_text().splitlines()) - 1 for table in tables)
    return {
        "cores": len(cores),
        "photos_per_second": count * len(cores) / seconds,
        "faces_per_second": faces / seconds,
    }
