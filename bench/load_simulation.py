"""Simulate the admission queues of many servers with SimPy.

Workers admit photos as app.web.server.admission does, and nginx balances. Photos arrive as a
Poisson process or at even intervals, and a refused one is sent again after a second. The costs of
a photo, a frame and a refusal are measured ones.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

import click
import numpy as np
import simpy

from app.web.server.admission import RETRY_SECONDS
from bench.serving import percentile

INSTANCES = (10, 100, 1000)
LOADS = (0.7, 0.9, 1.1, 1.5)
# A person who was sent away so often goes.
MOST_ATTEMPTS = 5
# Until as many come again as will.
WARM_UP_SECONDS = 6.0


@dataclass(frozen=True)
class Costs:
    """Hold what was measured of one worker, in seconds of its processor."""

    photo: float
    frame: float
    refusal: float
    spread: float  # a photo's standard deviation, as a share of its mean

    def photo_seconds(self, rng: np.random.Generator) -> float:
        """Draw what one photo takes, from a log-normal distribution."""
        sigma = np.sqrt(np.log1p(self.spread**2))
        return float(self.photo * rng.lognormal(-(sigma**2) / 2, sigma))


class Worker:
    """Give turns as app.web.server.admission does: photos first, a frame between two photos."""

    def __init__(
        self, world: simpy.Environment, costs: Costs, most_waiting: int, rng: np.random.Generator
    ) -> None:
        self._world = world
        self._costs = costs
        self._most_waiting = most_waiting
        self._rng = rng
        self._photos: deque[simpy.Event] = deque()
        self._frames: deque[simpy.Event] = deque()
        self._running = False
        self._photo_went_last = False
        self._behind = 0.0  # seconds that refusals have taken of the processor

    @property
    def under_way(self) -> int:
        """Return how many photos and frames are read or wait."""
        return self._running + len(self._photos) + len(self._frames)

    def take_photo(self) -> simpy.Event | None:
        """Return what happens once a photo is read, or nothing where it is refused."""
        if self._running and len(self._photos) >= self._most_waiting:
            self._behind += self._costs.refusal
            return None
        return self._wait(self._photos)

    def take_frame(self) -> simpy.Event:
        """Return what happens once a frame is read."""
        return self._wait(self._frames)

    def _wait(self, queue: deque[simpy.Event]) -> simpy.Event:
        read = self._world.event()
        queue.append(read)
        self._go_on()
        return read

    def _go_on(self) -> None:
        if self._running or not (self._photos or self._frames):
            return
        self._running = True
        frame_goes = bool(self._frames) and (self._photo_went_last or not self._photos)
        self._photo_went_last = not frame_goes
        read = (self._frames if frame_goes else self._photos).popleft()
        takes = self._costs.frame if frame_goes else self._costs.photo_seconds(self._rng)
        turn = self._world.timeout(takes + self._behind)
        self._behind = 0.0
        turn.callbacks.append(lambda _: self._end(read))

    def _end(self, read: simpy.Event) -> None:
        self._running = False
        read.succeed()
        self._go_on()


class Instance:
    """Several workers at one address: who has the least to do accepts."""

    def __init__(self, workers: list[Worker]) -> None:
        self.workers = workers

    def take_photo(self) -> simpy.Event | None:
        """Have a photo read, or refuse it."""
        return min(self.workers, key=lambda each: each.under_way).take_photo()


class Balance(Protocol):
    """Choose the instance for a photo by what each has under way."""

    def __call__(self, under_way: np.ndarray, rng: np.random.Generator) -> int:
        """Return its number."""


def least_connections(under_way: np.ndarray, rng: np.random.Generator) -> int:
    """Choose who has the fewest under way, by chance among equals: nginx's least_conn."""
    return int(np.argmin(under_way + rng.random(len(under_way))))


def better_of_two(under_way: np.ndarray, rng: np.random.Generator) -> int:
    """Choose the better of two by chance: nginx's random two least_conn."""
    one, other = rng.integers(len(under_way), size=2)
    return int(one if under_way[one] <= under_way[other] else other)


def by_chance(under_way: np.ndarray, rng: np.random.Generator) -> int:
    """Choose by chance, as a hash of addresses does at best."""
    return int(rng.integers(len(under_way)))


BALANCES: dict[str, Balance] = {
    "least_conn": least_connections,
    "random_two": better_of_two,
    "hash": by_chance,
}


@dataclass
class Tally:
    """Collect how long photos took from their first attempt on, and how they ended."""

    seconds: list[float] = field(default_factory=list)
    attempts: int = 0
    refused: int = 0
    at_once: int = 0
    gave_up: int = 0

    def to_json(self, duration: float) -> dict[str, Any]:
        """Return the figures of so many seconds."""
        photos = len(self.seconds) + self.gave_up
        milliseconds = [1000 * each for each in self.seconds]
        return {
            "photos": photos,
            "answered_per_second": round(len(self.seconds) / duration, 1),
            "answered_at_once_share": round(self.at_once / max(1, photos), 3),
            "refused_share": round(self.refused / max(1, self.attempts), 3),
            "gave_up_share": round(self.gave_up / max(1, photos), 3),
            "p50_ms": percentile(milliseconds, 50),
            "p95_ms": percentile(milliseconds, 95),
        }


class Crowd:
    """Servers, the balancer before them, and those who send photos."""

    def __init__(
        self,
        instances: int,
        workers: int,
        most_waiting: int,
        costs: Costs,
        balance: Balance = least_connections,
        pass_on: bool = False,
        most_attempts: int = MOST_ATTEMPTS,
        jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Set everything up, at rest.

        `pass_on` has the balancer offer a refused photo to one more instance at once; `jitter` are
        the seconds that senders wait longer than they are told at most.
        """
        self._world = simpy.Environment()
        self._rng = np.random.default_rng(seed)
        self._instances = [
            Instance([Worker(self._world, costs, most_waiting, self._rng) for _ in range(workers)])
            for _ in range(instances)
        ]
        self._under_way = np.zeros(instances)
        self._balance = balance
        self._pass_on = pass_on
        self._most_attempts = most_attempts
        self._jitter = jitter
        self._tally = Tally()

    def play(self, rate: float, seconds: float, evenly: bool = False) -> dict[str, Any]:
        """Let photos come at a rate, in photos a second of all together, and return the figures."""
        gap: Callable[[], float] = (
            (lambda: 1 / rate) if evenly else (lambda: float(self._rng.exponential(1 / rate)))
        )
        self._world.process(self._come(gap))
        self._world.run(WARM_UP_SECONDS)
        self._tally = Tally()
        self._world.run(WARM_UP_SECONDS + seconds)
        return self._tally.to_json(seconds)

    def play_at_once(self, photos: int) -> dict[str, Any]:
        """Let photos come in the same moment, and return when they are read or given up."""
        visits = [self._world.process(self._visit()) for _ in range(photos)]
        self._world.run(self._world.all_of(visits))
        return self._tally.to_json(self._world.now)

    def play_cameras(self, cameras: int, rate: float, seconds: float) -> dict[str, Any]:
        """Let cameras send frames over sockets, spread evenly, and return what each gets."""
        workers = itertools.cycle([w for each in self._instances for w in each.workers])
        delays: list[float] = []
        for number in range(cameras):
            phase = number / cameras / rate
            self._world.process(self._film(next(workers), rate, phase, delays))
        self._world.run(WARM_UP_SECONDS)
        delays.clear()
        self._world.run(WARM_UP_SECONDS + seconds)
        milliseconds = [1000 * each for each in delays]
        return {
            "frames_per_second": round(len(delays) / seconds / cameras, 2),
            "p50_ms": percentile(milliseconds, 50),
            "p95_ms": percentile(milliseconds, 95),
        }

    def _come(self, gap: Callable[[], float]) -> Generator[simpy.Event, None, None]:
        while True:
            self._world.process(self._visit())
            yield self._world.timeout(gap())

    def _visit(self) -> Generator[simpy.Event, None, None]:
        began = self._world.now
        for attempt in range(self._most_attempts):
            self._tally.attempts += 1
            chosen, read = self._offer()
            if read is not None:
                self._under_way[chosen] += 1
                yield read
                self._under_way[chosen] -= 1
                self._tally.seconds.append(self._world.now - began)
                self._tally.at_once += attempt == 0
                return
            self._tally.refused += 1
            yield self._world.timeout(RETRY_SECONDS + self._jitter * self._rng.random())
        self._tally.gave_up += 1

    def _offer(self) -> tuple[int, simpy.Event | None]:
        for _ in range(2 if self._pass_on else 1):
            chosen = self._balance(self._under_way, self._rng)
            read = self._instances[chosen].take_photo()
            if read is not None:
                break
        return chosen, read

    def _film(
        self, worker: Worker, rate: float, phase: float, delays: list[float]
    ) -> Generator[simpy.Event, None, None]:
        number = 0
        while True:
            number = max(number + 1, int((self._world.now - phase) * rate) + 1)
            taken = phase + number / rate
            yield self._world.timeout(max(0.0, taken - self._world.now))
            yield worker.take_frame()
            delays.append(self._world.now - taken)


def write_table(rows: list[dict[str, Any]]) -> str:
    """Write the figures as a table for people."""
    lines = ["instances  load  photos/s  answered/s  at once  refused  gave up   p50 ms   p95 ms"]
    lines += [
        f"{row['instances']:9}  {row['load']:4.2f}  {row['rate']:8.0f}  "
        f"{row['answered_per_second']:10.0f}  {row['answered_at_once_share']:7.1%}  "
        f"{row['refused_share']:7.1%}  {row['gave_up_share']:7.1%}  {row['p50_ms']:7.0f}  "
        f"{row['p95_ms']:7.0f}"
        for row in rows
    ]
    return "\n".join(lines)


def write_cameras(rows: list[dict[str, Any]]) -> str:
    """Write what cameras get as a table for people."""
    lines = ["instances  cameras  frames/s   p50 ms   p95 ms"]
    lines += [
        f"{row['instances']:9}  {row['cameras']:7}  {row['frames_per_second']:8.1f}  "
        f"{row['p50_ms']:7.0f}  {row['p95_ms']:7.0f}"
        for row in rows
    ]
    return "\n".join(lines)


@click.command()
@click.option("--instances", multiple=True, type=click.IntRange(1), default=INSTANCES)
@click.option(
    "--load",
    "loads",
    multiple=True,
    type=click.FloatRange(0.01),
    default=LOADS,
    help="Photos that come, as a share of those that all workers together can read.",
)
@click.option("--workers", default=2, show_default=True, help="Workers of each instance.")
@click.option("--waiting", default=1, show_default=True, help="RAUT_QUEUE_SIZE.")
@click.option("--balance", type=click.Choice(list(BALANCES)), default="least_conn")
@click.option("--pass-on", is_flag=True, help="Offer a refused photo to one more instance.")
@click.option("--attempts", default=MOST_ATTEMPTS, show_default=True)
@click.option("--at-once", multiple=True, type=click.IntRange(1), help="So many photos at once.")
@click.option("--jitter", default=0.0, show_default=True, help="Seconds waited longer, at most.")
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--photo-ms", default=40.0, show_default=True)
@click.option("--refusal-ms", default=1.0, show_default=True)
@click.option("--spread", default=0.1, show_default=True)
@click.option(
    "--cameras", multiple=True, type=click.IntRange(1), help="Play cameras, so many an instance."
)
@click.option("--camera-rate", default=5.0, show_default=True, help="Frames a second.")
@click.option("--frame-ms", default=12.0, show_default=True)
@click.option(
    "--evenly", is_flag=True, help="Photos come at even times, as `bench load` sends them."
)
@click.option("--json", "as_json", type=click.File("w", encoding="utf-8"))
def simulate(
    instances: tuple[int, ...],
    loads: tuple[float, ...],
    workers: int,
    waiting: int,
    balance: str,
    pass_on: bool,
    attempts: int,
    at_once: tuple[int, ...],
    jitter: float,
    seconds: float,
    photo_ms: float,
    refusal_ms: float,
    spread: float,
    cameras: tuple[int, ...],
    camera_rate: float,
    frame_ms: float,
    evenly: bool,
    as_json: IO[str] | None,
) -> None:
    """Simulate crowds of photos at several numbers of servers."""
    costs = Costs(photo_ms / 1000, frame_ms / 1000, refusal_ms / 1000, spread)

    def crowd(count: int) -> Crowd:
        return Crowd(count, workers, waiting, costs, BALANCES[balance], pass_on, attempts, jitter)

    rows: list[dict[str, Any]] = []
    if cameras:
        for count, each in itertools.product(instances, cameras):
            figures = crowd(count).play_cameras(count * each, camera_rate, seconds)
            rows.append({"instances": count, "cameras": count * each, **figures})
        click.echo(write_cameras(rows))
    elif at_once:
        for count, photos in itertools.product(instances, at_once):
            figures = crowd(count).play_at_once(photos)
            rows.append({"instances": count, "load": 0.0, "rate": photos, **figures})
        click.echo(write_table(rows))
    else:
        for count, load in itertools.product(instances, loads):
            rate = load * count * workers / costs.photo
            figures = crowd(count).play(rate, seconds, evenly)
            rows.append({"instances": count, "load": load, "rate": round(rate, 1), **figures})
        click.echo(write_table(rows))
    if as_json:
        json.dump(rows, as_json, indent=2)
