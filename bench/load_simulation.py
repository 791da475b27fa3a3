"""Simulate servers behind nginx: python -m bench simulate [--instances 10] [--load 1.1].

Each worker is a queue as in app.web.server.admission. Photos arrive as a Poisson stream, or evenly
as `bench load` sends them; a refused one is sent again after `Retry-After`. Service times are
measured ones. docs/scaling.md compares the results with measurements.
"""

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import simpy

from app.web.server.admission import MOST_QUEUED, RETRY_SECONDS
from bench.report import figures_table
from bench.serving import percentile

INSTANCES = (10, 100, 1000)
LOADS = (0.7, 0.9, 1.1, 1.5)
MOST_ATTEMPTS = 5
CAMERA_RATE = 5.0  # frames a second
WARM_UP_SECONDS = 6.0  # until retries are as frequent as they get: MOST_ATTEMPTS times a second

Events = Generator[simpy.Event, None, None]
# Chooses the instance for a photo by how many each is working on.
Balance = Callable[[np.ndarray, np.random.Generator], int]


@dataclass(frozen=True)
class Costs:
    """Hold the processor time of one worker, in seconds; `spread` is a photo's sd / mean."""

    photo: float
    frame: float
    refusal: float
    spread: float

    def photo_seconds(self, rng: np.random.Generator) -> float:
        """Sample a photo's service time from a log-normal distribution."""
        sigma = np.sqrt(np.log1p(self.spread**2))
        return float(self.photo * rng.lognormal(-(sigma**2) / 2, sigma))


def better_of_two(active: np.ndarray, rng: np.random.Generator) -> int:
    """Choose the better of two at random: nginx's `random two least_conn`."""
    one, other = rng.integers(len(active), size=2)
    return int(one if active[one] <= active[other] else other)


BALANCES: dict[str, Balance] = {
    # Ties are broken at random.
    "least_conn": lambda active, rng: int(np.argmin(active + rng.random(len(active)))),
    "random_two": better_of_two,
    # A hash of addresses is a random choice at best.
    "hash": lambda active, rng: int(rng.integers(len(active))),
}


class Worker(simpy.Resource):
    """A processor that does one thing at a time, in the order of arrival."""

    refusing = 0.0  # seconds of refusals that delay the next photo

    @property
    def active(self) -> int:
        """Return how many photos and frames are processed or wait."""
        return int(self.count) + len(self.queue)

    def process(self, seconds: Callable[[], float]) -> Events:
        """Wait for the processor, and take that long."""
        with self.request() as granted:
            yield granted
            refusing, self.refusing = self.refusing, 0.0
            yield self._env.timeout(seconds() + refusing)


@dataclass
class Simulation:
    """Instances of several workers each, the balancer in front of them, and the senders.

    `pass_on` has the balancer offer a refused photo to a second instance at once; senders wait up
    to `jitter` seconds longer than `Retry-After` says.
    """

    instances: int
    workers: int
    queue_seconds: float
    costs: Costs
    balance: Balance = BALANCES["least_conn"]
    pass_on: bool = False
    attempts: int = MOST_ATTEMPTS
    jitter: float = 0.0

    def __post_init__(self) -> None:
        self._world = simpy.Environment()
        self._rng = np.random.default_rng(0)
        self._instances = [
            [Worker(self._world) for _ in range(self.workers)] for _ in range(self.instances)
        ]
        self._active = np.zeros(self.instances)
        self._reset()

    def _reset(self) -> None:
        self._latencies: list[float] = []  # seconds from the first attempt to the answer
        self._sent = self._refused = self._at_once = self._gave_up = 0

    def _run(self, seconds: float) -> None:
        self._world.run(WARM_UP_SECONDS)
        self._reset()
        self._world.run(WARM_UP_SECONDS + seconds)

    def play(self, rate: float, seconds: float, evenly: bool = False) -> dict[str, Any]:
        """Send `rate` photos a second to all instances together; returns the figures."""

        def arrive() -> Events:
            while True:
                self._world.process(self._send())
                yield self._world.timeout(1 / rate if evenly else self._rng.exponential(1 / rate))

        self._world.process(arrive())
        self._run(seconds)
        return self._summarize(seconds)

    def play_at_once(self, photos: int) -> dict[str, Any]:
        """Send all photos in the same moment; returns the figures once all have ended."""
        sent = [self._world.process(self._send()) for _ in range(photos)]
        self._world.run(self._world.all_of(sent))
        return self._summarize(self._world.now)

    def play_cameras(self, cameras: int, rate: float, seconds: float) -> dict[str, Any]:
        """Stream from cameras, spread evenly over the workers; returns each one's figures."""
        workers = itertools.cycle(itertools.chain(*self._instances))
        for number in range(cameras):
            self._world.process(self._film(next(workers), rate, number / cameras / rate))
        self._run(seconds)
        rate = round(len(self._latencies) / seconds / cameras, 2)
        return {"frames_per_second": rate, **_percentiles(self._latencies)}

    def _send(self) -> Events:
        began = self._world.now
        for attempt in range(self.attempts):
            self._sent += 1
            for _ in range(2 if self.pass_on else 1):
                chosen = self.balance(self._active, self._rng)
                # The worker with the least to do accepts.
                worker = min(self._instances[chosen], key=lambda each: each.active)
                waits = worker.active * self.costs.photo <= self.queue_seconds
                if not worker.active or (waits and worker.active <= MOST_QUEUED):
                    self._active[chosen] += 1
                    yield from worker.process(lambda: self.costs.photo_seconds(self._rng))
                    self._active[chosen] -= 1
                    self._latencies.append(self._world.now - began)
                    self._at_once += attempt == 0
                    return
                worker.refusing += self.costs.refusal
            self._refused += 1
            yield self._world.timeout(RETRY_SECONDS + self.jitter * self._rng.random())
        self._gave_up += 1

    def _film(self, worker: Worker, rate: float, phase: float) -> Events:
        number = 0
        while True:
            number = max(number + 1, int((self._world.now - phase) * rate) + 1)
            taken = phase + number / rate
            yield self._world.timeout(max(0.0, taken - self._world.now))
            yield from worker.process(lambda: self.costs.frame)
            self._latencies.append(self._world.now - taken)

    def _summarize(self, seconds: float) -> dict[str, Any]:
        photos = len(self._latencies) + self._gave_up
        return {
            "photos": photos,
            "answered_per_second": round(len(self._latencies) / seconds, 1),
            "answered_at_once_share": round(self._at_once / max(1, photos), 3),
            "refused_share": round(self._refused / max(1, self._sent), 3),
            "gave_up_share": round(self._gave_up / max(1, photos), 3),
            **_percentiles(self._latencies),
        }


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    milliseconds = [1000 * each for each in seconds]
    return {"p50_ms": percentile(milliseconds, 50), "p95_ms": percentile(milliseconds, 95)}


@click.command()
@click.option("--instances", multiple=True, type=click.IntRange(1), default=INSTANCES)
@click.option(
    "--load",
    "loads",
    multiple=True,
    type=click.FloatRange(0.01),
    default=LOADS,
    help="Photos that arrive, as a share of those that all workers together can process.",
)
@click.option("--workers", default=2, show_default=True, help="Workers of each instance.")
@click.option("--queue-seconds", default=3.0, show_default=True, help="RAUT_QUEUE_SECONDS.")
@click.option("--balance", type=click.Choice(list(BALANCES)), default="least_conn")
@click.option("--pass-on", is_flag=True, help="Offer a refused photo to a second instance.")
@click.option("--attempts", default=MOST_ATTEMPTS, show_default=True)
@click.option("--at-once", multiple=True, type=click.IntRange(1), help="Send photos in a burst.")
@click.option("--jitter", default=0.0, show_default=True, help="Longest extra wait, in seconds.")
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--photo-ms", default=40.0, show_default=True)
@click.option("--frame-ms", default=12.0, show_default=True)
@click.option("--refusal-ms", default=1.0, show_default=True)
@click.option("--spread", default=0.1, show_default=True)
@click.option("--cameras", multiple=True, type=click.IntRange(1), help="Cameras of each instance.")
@click.option("--evenly", is_flag=True, help="Photos arrive evenly, as `bench load` sends them.")
def simulate(
    instances: tuple[int, ...],
    loads: tuple[float, ...],
    at_once: tuple[int, ...],
    cameras: tuple[int, ...],
    balance: str,
    seconds: float,
    evenly: bool,
    **options: Any,
) -> None:
    """Simulate photos, a burst of photos or cameras, for several numbers of instances."""
    spent = {name: options.pop(f"{name}_ms") / 1000 for name in ("photo", "frame", "refusal")}
    costs = Costs(**spent, spread=options.pop("spread"))
    rows: list[dict[str, Any]] = []
    for count, amount in itertools.product(instances, cameras or at_once or loads):
        simulation = Simulation(count, costs=costs, balance=BALANCES[balance], **options)
        if cameras:
            row = {"cameras": count * amount}
            figures = simulation.play_cameras(count * int(amount), CAMERA_RATE, seconds)
        elif at_once:
            row = {"load": 0.0, "rate": amount}
            figures = simulation.play_at_once(int(amount))
        else:
            rate = amount * count * options["workers"] / costs.photo
            row = {"load": amount, "rate": round(rate, 1)}
            figures = simulation.play(rate, seconds, evenly)
        rows.append({"instances": count, **row, **figures})
    click.echo(figures_table(rows))
