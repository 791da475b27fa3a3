"""Count what is asked and how long it takes, for Prometheus: nothing of a photo or a client.

With several worker processes each counts in a file of its own, in the folder that
PROMETHEUS_MULTIPROC_DIR names (gunicorn.conf.py makes one in memory), and any worker tells all.
"""

import os
import time
from collections.abc import Mapping

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

# From a live frame to a photo of 40 megapixels on a busy machine.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Counter("raut_requests", "Requests answered.", ("endpoint", "status"))
REQUEST_SECONDS = Histogram(
    "raut_request_seconds", "Seconds from a request to its answer.", ("endpoint",), buckets=SECONDS
)
REFUSALS = Counter("raut_refusals", "Requests and frames refused.", ("code",))
STAGE_SECONDS = Histogram(
    "raut_stage_seconds", "Seconds that a photo or frame took.", ("stage",), buckets=SECONDS
)
OPEN_STREAMS = Gauge("raut_streams_open", "Live sockets open.", multiprocess_mode="livesum")
FRAMES = Counter("raut_frames", "Live frames received.", ("outcome",))
OVERLOADED = Gauge(
    "raut_workers_overloaded",
    "Workers that have refused most photos for some seconds.",
    multiprocess_mode="livesum",
)

# Search passes are parts of `detect`, and the total is of all: they would be counted twice.
STAGES = ("decode", "detect", "classify")

blueprint = Blueprint("metrics", __name__)


def init_metrics(app: Flask) -> None:
    """Count every request, and answer with the counts."""
    app.before_request(_begin)
    app.after_request(_count_request)
    app.register_blueprint(blueprint)


@blueprint.get("/metrics")
def metrics() -> Response:
    """Answer with the counts of all workers."""
    return Response(generate_latest(_all_counts()), content_type=CONTENT_TYPE_LATEST)


def count_overloaded() -> int:
    """Return how many workers of this server are overloaded."""
    return int(_all_counts().get_sample_value("raut_workers_overloaded") or 0)


def count_stages(timings_ms: Mapping[str, float]) -> None:
    """Count how long a photo's or a frame's stages took."""
    for stage in STAGES:
        if stage in timings_ms:
            STAGE_SECONDS.labels(stage).observe(timings_ms[stage] / 1000)


def _all_counts() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return registry


def _begin() -> None:
    g.begun = time.perf_counter()


def _count_request(response: Response) -> Response:
    """Count a request by its route, never by the address that was asked for."""
    endpoint = request.endpoint or "none"
    REQUESTS.labels(endpoint, response.status_code).inc()
    if "begun" in g:
        REQUEST_SECONDS.labels(endpoint).observe(time.perf_counter() - g.begun)
    return response
