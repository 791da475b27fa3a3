import pytest
from click.testing import CliRunner

from bench.__main__ import cli
from bench.load_simulation import BALANCES, Costs, Simulation

COSTS = Costs(photo=0.04, frame=0.01, refusal=0.0, spread=0.5)


@pytest.mark.parametrize(("workers", "refused"), [(1, 1 / 2), (2, 2 / 5)])
def test_without_a_queue_the_refused_share_is_erlangs(workers: int, refused: float) -> None:
    # Erlang's loss formula, whatever the spread: one worker offered 1, two offered 2.
    simulation = Simulation(1, workers, queue_seconds=0, costs=COSTS, attempts=1)
    figures = simulation.play(rate=workers / COSTS.photo, seconds=200)
    assert figures["refused_share"] == pytest.approx(refused, abs=0.02)


def test_at_a_low_load_photos_are_answered_at_once_in_their_service_time() -> None:
    figures = Simulation(10, 2, 0.04, COSTS).play(rate=10, seconds=20)
    assert figures["answered_at_once_share"] == 1
    assert figures["p50_ms"] == pytest.approx(40, rel=0.2)


def test_throughput_is_bounded_by_the_workers() -> None:
    figures = Simulation(2, 2, 0.04, COSTS).play(rate=500, seconds=10)
    assert figures["answered_per_second"] == pytest.approx(4 / COSTS.photo, rel=0.05)
    assert figures["gave_up_share"] > 0.3


def test_refusals_take_time_from_photos() -> None:
    free = Simulation(2, 1, 0.04, COSTS).play(rate=200, seconds=10)
    costly = Simulation(2, 1, 0.04, Costs(0.04, 0.01, refusal=0.01, spread=0.5)).play(200, 10)
    assert costly["answered_per_second"] < 0.9 * free["answered_per_second"]


def test_the_fewest_connections_refuse_less_than_chance() -> None:
    refused = {
        name: Simulation(10, 2, 0.04, COSTS, balance).play(rate=400, seconds=10)["refused_share"]
        for name, balance in BALANCES.items()
    }
    assert refused["least_conn"] < refused["random_two"] < refused["hash"]


def test_retries_without_jitter_wait_longest() -> None:
    no_jitter, jitter = (
        Simulation(2, 2, 0.04, COSTS, attempts=1000, jitter=jitter).play_at_once(100)["p95_ms"]
        for jitter in (0.0, 1.0)
    )
    assert jitter < no_jitter / 2


def test_cameras_get_their_rate_until_the_workers_are_full() -> None:
    easy = Simulation(1, 2, 0.04, COSTS).play_cameras(cameras=20, rate=5, seconds=10)
    assert easy["frames_per_second"] == pytest.approx(5, rel=0.02)
    full = Simulation(1, 2, 0.04, COSTS).play_cameras(cameras=80, rate=5, seconds=10)
    assert full["frames_per_second"] == pytest.approx(2 / 0.01 / 80, rel=0.05)


def test_the_command_prints_a_row_for_each_size_and_load() -> None:
    options = ["--instances", "2", "--load", "0.5", "--load", "2", "--seconds", "1"]
    printed = CliRunner().invoke(cli, ["simulate", *options])
    assert printed.exit_code == 0
    assert len(printed.output.splitlines()) == 2 + 2
