"""Run the measurements: python -m bench [--only NAME] [--quick]."""

import datetime
import importlib.metadata
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import click

from bench.environments import PEERS, ROOT, Installed, PeerError, install_peer
from bench.machine import describe_hardware
from bench.measurements import PARTS, Bench
from bench.pictures import make_pictures
from bench.report import OURS, merge_figures, plot_growth, write_report
from bench.serving import BenchmarkError

ROUNDS, QUICK_ROUNDS = 9, 2
QUICK_PARTS = ("photos", "cold")
PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "simplejpeg")


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Measure this part.")
@click.option("--quick", is_flag=True, help="Measure photos and cold starts, twice each.")
@click.option("--pictures", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--environments",
    default=Path.home() / ".cache" / "raut-bench",
    type=click.Path(path_type=Path),
    help="Where the peers are installed.",
)
@click.option("--results", default=ROOT / "bench" / "results", type=click.Path(path_type=Path))
def main(
    only: tuple[str, ...], quick: bool, pictures: Path | None, environments: Path, results: Path
) -> None:
    """Measure Raut and its peers, and merge the figures into the day's files."""
    run = describe_run()
    day = datetime.date.today().isoformat()
    file = results / f"{day}.json"
    peers: dict[str, Installed] = {}
    missing: dict[str, str] = {}
    for peer in PEERS:
        try:
            peers[peer.name] = install_peer(peer, environments)
        except PeerError as error:
            missing[peer.name] = str(error)
    if OURS in missing:
        raise click.ClickException(f"Raut itself {missing[OURS]}.")
    figures = merge_figures(file, {"run": run, "peers": {"missing": missing}})
    commits = figures.get("commits", {})
    with tempfile.TemporaryDirectory() as folder:
        chosen = sorted(pictures.glob("*.jpg")) if pictures else make_pictures(Path(folder))
        if not chosen:
            raise click.ClickException(f"{pictures} holds no .jpg. Name a folder that does.")
        bench = Bench(peers, chosen, QUICK_ROUNDS if quick else ROUNDS)
        for part in only or (QUICK_PARTS if quick else tuple(PARTS)):
            click.echo(f"Measuring {part}", err=True)
            commits[part] = run["commit"]
            figures = merge_figures(file, {part: measure(part, bench), "commits": commits})
    report = write_report(figures)
    file.with_suffix(".md").write_text(report)
    plot_growth(figures, results, day)
    click.echo(report)


def describe_run() -> dict[str, Any]:
    """Say what a run is of, on what, and how busy the machine was before it."""
    asked = ("git", "-C", str(ROOT), "describe", "--always", "--dirty")
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return {
        "commit": found.stdout.strip() or "unknown",
        "hardware": describe_hardware(),
        "load_before": os.getloadavg()[0],
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def measure(part: str, bench: Bench) -> dict[str, Any]:
    """Measure one part; where it fails, say why and let the others go on."""
    try:
        return PARTS[part](bench)
    except (PeerError, BenchmarkError) as error:
        return {"failed": {part: str(error)}}


if __name__ == "__main__":
    main()
