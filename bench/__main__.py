"""Run the measurements: python -m bench [--only NAME] [--quick]."""

import datetime
import tempfile
from pathlib import Path

import click

from bench.environments import PEERS, ROOT, Installed, PeerError, install_peer
from bench.measurements import PARTS, Bench
from bench.pictures import make_pictures
from bench.report import merge_figures, plot_growth, write_report

ROUNDS, QUICK_ROUNDS = 9, 2
QUICK_PARTS = ("photos", "cold")


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
    peers: dict[str, Installed] = {}
    missing: dict[str, str] = {}
    for peer in PEERS:
        try:
            peers[peer.name] = install_peer(peer, environments)
        except PeerError as error:
            missing[peer.name] = str(error)
    day = datetime.date.today().isoformat()
    file = results / f"{day}.json"
    with tempfile.TemporaryDirectory() as folder:
        chosen = sorted(pictures.glob("*.jpg")) if pictures else make_pictures(Path(folder))
        if not chosen:
            raise click.ClickException(f"{pictures} holds no .jpg. Name a folder that does.")
        bench = Bench(peers, chosen, QUICK_ROUNDS if quick else ROUNDS)
        for part in only or (QUICK_PARTS if quick else tuple(PARTS)):
            figures = merge_figures(file, {part: PARTS[part](bench)})
    figures = merge_figures(file, {"peers": {"missing": missing}})
    report = write_report(figures)
    file.with_suffix(".md").write_text(report)
    plot_growth(figures, results, day)
    click.echo(report)


if __name__ == "__main__":
    main()
