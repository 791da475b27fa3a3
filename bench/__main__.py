"""Declare the benchmarks: python -m bench peers|accuracy|live|load|film|archive|simulate|faces."""

import datetime
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click

from app.__main__ import Commands
from app.errors import RautError
from bench import ROOT, BenchmarkError, accuracy, film, live, load
from bench.archive import archive
from bench.environments import PEERS, Installed, install_peer
from bench.faces import faces
from bench.load_simulation import simulate
from bench.measurements import PARTS, Bench, recording
from bench.pictures import make_pictures
from bench.report import OURS, merge_figures, write_report
from training.machine import describe_hardware

ROUNDS, QUICK_ROUNDS = 9, 2
QUICK_PARTS = ("photos", "cold")


class Benchmarks(Commands):
    """Print failures of benchmarks, too."""

    failures = (BenchmarkError, RautError, OSError)


@click.group(cls=Benchmarks)
def cli() -> None:
    """Measure the speed of Raut, and how often it is right beside similar libraries."""


cli.add_command(archive)
cli.add_command(faces)
cli.add_command(simulate)
PHOTO = click.Path(path_type=Path, exists=True, dir_okay=False)
url_option = click.option("--url", help="Measure this server instead of a local one.")


@cli.command("live")
@click.option("--clients", default=1, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(1))
@click.option(
    "--picture",
    required=True,
    type=PHOTO,
    help="A photo with a face, which is panned, zoomed and turned.",
)
@click.option(
    "--rate",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Frames a second of each camera; 0 sends as fast as answers come.",
)
@url_option
def measure_live(**options: Any) -> None:
    """Measure live streams with several clients, and plain requests beside them."""
    click.echo(live.write_table(live.measure_streams(**options)))


@cli.command("load")
@click.option("--picture", required=True, type=PHOTO, help="The photo that every request sends.")
@click.option("--clients", default=64, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(1))
@click.option(
    "--rate",
    "rates",
    multiple=True,
    type=click.FloatRange(0.1),
    help="Requests a second, repeatable; 1, 2, 4 and 8 times the server's capacity by default.",
)
@url_option
def measure_load(**options: Any) -> None:
    """Measure an open load of photos, which arrive whether or not the server keeps up.

    First one at a time, then at the server's capacity, then at each rate, and one at a time again.
    """
    click.echo(load.write_table(load.measure_load(**options)))


@cli.command("film")
@click.option("--only", multiple=True, type=click.Choice(list(film.MEASURES)))
def measure_film(only: tuple[str, ...]) -> None:
    """Measure `raut analyze` on made films of scikit-image's astronaut."""
    for name, figures in film.measure_films(only):
        click.echo(f"{name}: {figures}")


FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
environments_option = click.option(
    "--environments",
    default=Path.home() / ".cache" / "raut-bench",
    type=click.Path(path_type=Path),
    help="Where the peers are installed.",
)
results_option = click.option(
    "--results", default=ROOT / "bench" / "results", type=click.Path(path_type=Path)
)


@cli.command()
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Measure this part.")
@click.option("--quick", is_flag=True, help="Measure photos and cold starts, twice each.")
@click.option("--pictures", type=FOLDER)
@environments_option
@results_option
def peers(
    only: tuple[str, ...], quick: bool, pictures: Path | None, environments: Path, results: Path
) -> None:
    """Compare Raut with similar libraries, and merge the figures into the day's files."""
    run = describe_run()
    file = results / f"{datetime.date.today().isoformat()}.json"
    installed, missing = _install(environments)
    figures = merge_figures(file, {"run": run, "peers": {"missing": missing}})
    commits = figures.get("commits", {})
    with tempfile.TemporaryDirectory() as folder:
        chosen = sorted(pictures.glob("*.jpg")) if pictures else make_pictures(Path(folder))
        if not chosen:
            raise BenchmarkError(f"{pictures} holds no .jpg. Name a folder that does.")
        bench = Bench(installed, chosen, QUICK_ROUNDS if quick else ROUNDS)
        for part in only or (QUICK_PARTS if quick else tuple(PARTS)):
            click.echo(f"Measuring {part}", err=True)
            commits[part] = run["commit"]
            failed: dict[str, str] = {}
            measured: dict[str, Any] = {"failed": failed}
            with recording(failed, part):
                measured = PARTS[part](bench)
            figures = merge_figures(file, {part: measured, "commits": commits})
    report = write_report(figures)
    file.with_suffix(".md").write_text(report)
    click.echo(report)


@cli.command("accuracy")
@click.argument("data", type=FOLDER, default="data")
@click.option("--limit", type=click.IntRange(1), help="Maximum number of photos of a set.")
@environments_option
@results_option
def measure_accuracy(data: Path, limit: int | None, environments: Path, results: Path) -> None:
    """Measure how often Raut and similar libraries are right, on the labelled photos in DATA.

    These are DATA/photos and DATA/wild, each with labels.csv, without people that a model of Raut
    learned from.
    """
    installed, missing = _install(environments)
    measured = accuracy.measure_accuracy(installed, accuracy.list_unseen_photos(data, limit))
    figures = {"accuracy": measured, "peers": {"missing": missing}}
    file = results / f"{datetime.date.today().isoformat()}-accuracy.json"
    report = write_report(merge_figures(file, figures))
    file.with_suffix(".md").write_text(report)
    click.echo(report)


def _install(environments: Path) -> tuple[dict[str, Installed], dict[str, str]]:
    """Install the peers; return them, and why others are missing."""
    installed: dict[str, Installed] = {}
    missing: dict[str, str] = {}
    for peer in PEERS:
        with recording(missing, peer.name):
            installed[peer.name] = install_peer(peer, environments)
    if OURS in missing:
        raise BenchmarkError(f"Raut itself {missing[OURS]}.")
    return installed, missing


def describe_run() -> dict[str, Any]:
    """Return the commit, the hardware and the load before the run."""
    command = ("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return {
        "commit": found.stdout.strip() or "unknown",
        "hardware": describe_hardware(),
        "load_before": os.getloadavg()[0],
    }


if __name__ == "__main__":
    cli()
