"""Measure: each function is one part of a run and returns its figures."""

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from app.benchmarks.load import measure_load, measure_side_by_side
from app.benchmarks.serving import own_server, usage
from app.benchmarks.stream import measure_streams
from app.settings import count_processors
from app.vision.classifiers import load_classifier
from bench.drivers import Driver, started
from bench.environments import ROOT, Installed, PeerError
from bench.pictures import make_growing_groups, make_growing_photos

OURS = "raut"
BULK_SECONDS = 300
SERVER_SECONDS = 8.0
CLIENTS = (1, 2, 4, 8, 16, 32)
MATRIX_SIDE = 1024


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
        "failed": failed,
    }


def measure_cold(bench: Bench) -> dict[str, Any]:
    """Time a fresh process from its start to the first answer, and take its peak memory."""
    figures: dict[str, dict[str, list[float]]] = {}
    failed: dict[str, str] = {}
    for _ in range(bench.rounds):
        for name, peer in bench.peers.items():
            begun = time.perf_counter()
            with started(peer.command) as driver:
                if _try(driver, bench.pictures[0], name, failed) is None:
                    continue
                seconds = time.perf_counter() - begun
                row = figures.setdefault(name, {"seconds": [], "peak_megabytes": []})
                row["seconds"].append(seconds)
                row["peak_megabytes"].append(driver.peak_megabytes())
    return {
        "first_answer": {
            name: {kind: summarize(values) for kind, values in row.items()}
            for name, row in figures.items()
        },
        "failed": failed,
    }


def measure_install(bench: Bench) -> dict[str, Any]:
    """Tell what each peer's install took, where the bench itself installed it."""
    return {
        name: {"seconds": peer.seconds, "megabytes": peer.megabytes}
        for name, peer in bench.peers.items()
        if peer.megabytes is not None
    }


def measure_megapixels(bench: Bench) -> dict[str, Any]:
    """Time our answer against megapixels; the slope is that above 2 megapixels."""
    return _measure_growth(bench, make_growing_photos, lambda x: x > 2)


def measure_faces(bench: Bench) -> dict[str, Any]:
    """Time our answer against faces; the slope is that up to 16 faces."""
    return _measure_growth(bench, make_growing_groups, lambda x: x <= 16)


def measure_bulk(bench: Bench) -> dict[str, Any]:
    """Time two command lines at once, each with half of the 640x480 photos on one core."""
    photo = next((p for p in bench.pictures if p.stem == "640x480"), bench.pictures[0])
    each = 20 * bench.rounds
    began = time.perf_counter()
    command = [sys.executable, "-m", "app", "analyze", *[str(photo.resolve())] * each]
    halves = [
        subprocess.Popen(
            ["taskset", "-c", str(core), *command], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        for core in sorted(os.sched_getaffinity(0))[:2]
    ]
    if any(half.wait(BULK_SECONDS) for half in halves):
        raise PeerError("python -m app analyze refused a photo")
    seconds = time.perf_counter() - began
    return {"photos": each * len(halves), "photos_per_second": each * len(halves) / seconds}


def measure_limit(bench: Bench) -> dict[str, Any]:
    """Time what decoding and resizing cost at best on this machine, for each picture."""
    figures: dict[str, Any] = {}
    cv2.setNumThreads(1)
    for picture in bench.pictures:
        data = picture.read_bytes()
        full = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        scale = 640 / max(full.shape[:2])
        small = (round(full.shape[1] * scale), round(full.shape[0] * scale))
        target = full.copy()
        work: dict[str, Callable[[], object]] = {
            "decode_full": partial(_decode_scaled, data, full.shape[1::-1]),
            "decode_scaled": partial(_decode_scaled, data, small),
            "copy": partial(np.copyto, target, full),
            "resize": partial(cv2.resize, full, small, interpolation=cv2.INTER_AREA),
        }
        figures[picture.stem] = {name: _repeat(each, bench.rounds) for name, each in work.items()}
    return figures


def measure_networks(bench: Bench) -> dict[str, Any]:
    """Tell how near each network comes to the multiply-adds of a large product of matrices.

    The product is one of single precision, as the exact networks compute; what is served may
    compute in 8 bits and overtake it.
    """
    matrix = np.ones((MATRIX_SIDE, MATRIX_SIDE), np.float32)
    figures: dict[str, Any] = {}
    # A second thread of the product would only fight for the core.
    with pinned(), threadpool_limits(1):
        product = _repeat(lambda: matrix @ matrix, bench.rounds)["median"]
        peak = MATRIX_SIDE**3 / product / 1e6
        for folder in sorted(path.parent for path in (ROOT / "models").glob("*/card.json")):
            served, exact = load_classifier(folder), load_classifier(folder, "onnx")
            shape = served.card.shape
            cost = served.card.figures["speed"]["multiply_adds"]
            crop = np.zeros((1, shape.size, shape.size, shape.channels), np.uint8)
            spent, exactly = (
                _repeat(partial(classifier.network.logits, crop), bench.rounds)
                for classifier in (served, exact)
            )
            rate = cost / exactly["median"] / 1e6
            figures[folder.name] = {
                "multiply_adds_millions": cost / 1e6,
                "milliseconds": spent,
                "exact_milliseconds": exactly,
                "exact_billions_a_second": rate,
                "exact_share_of_peak": rate / peak,
            }
    return {"peak_billions_a_second": peak, "networks": figures}


def measure_server(bench: Bench) -> dict[str, Any]:
    """Measure the server with 1 and 2 workers: photos a second, and delays at half of them."""
    figures: dict[str, Any] = {}
    for workers in (1, 2):
        with own_server(WEB_CONCURRENCY=str(workers)) as (url, pid):
            rest = usage(pid).memory_mb
            side_by_side = 2 * count_processors()
            delays = measure_side_by_side(bench.pictures[0], side_by_side, SERVER_SECONDS, url)
            half = len(delays) / SERVER_SECONDS / 2
            measured = measure_load(bench.pictures[0], 64, SERVER_SECONDS, [half], url)
            loaded = measured["rounds"][0]
            figures[str(workers)] = {
                "memory_at_rest_mb": rest,
                "photos_per_second": measured["served_per_second"],
                "half_rate": half,
                "half_p50_ms": loaded["answered_p50_ms"],
                "half_p95_ms": loaded["answered_p95_ms"],
                "half_refused": loaded["refused"],
            }
    return figures


def measure_clients(bench: Bench) -> dict[str, Any]:
    """Time a photo's answer against how many clients ask at the same time, none refused."""
    points = []
    with own_server(RAUT_MAX_WAITING=str(max(CLIENTS))) as (url, _):
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
    "bulk": measure_bulk,
    "limit": measure_limit,
    "networks": measure_networks,
    "server": measure_server,
    "clients": measure_clients,
    "live": measure_live,
}


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "low": float(low), "high": float(high), "count": len(values)}


def fit_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Fit a line through the logarithms by least squares; returns its slope."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _measure_growth(
    bench: Bench, make: Callable[[Path], dict[float, Path]], counts: Callable[[float], bool]
) -> dict[str, Any]:
    """Time our answer to pictures that grow."""
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
    """Ask a driver; note why where it gives no answer."""
    try:
        return driver.ask(picture)
    except PeerError as error:
        failed[name] = str(error)
        return None


def _decode_scaled(data: bytes, size: tuple[int, int]) -> None:
    """Decode a JPEG at the smallest of libjpeg-turbo's scales that holds `size`."""
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", size)
    image.load()


@contextmanager
def pinned() -> Iterator[None]:
    """Keep this process on one core, as the drivers are."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def _repeat(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Time some work in milliseconds, after once not counted."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return summarize(times[1:])
