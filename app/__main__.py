"""Run the command line: python -m app <command>."""

import io
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import click

from app.batch.inputs import ArchiveError, find_photos, write_out
from app.batch.job import BatchJob, read_archive
from app.batch.rows import list_rows
from app.batch.tables import FORMATS, Format, write_csv
from app.errors import RautError
from app.files import write_text
from app.ray_session import ENGINES, ExecutorName, RayError
from app.settings import Settings, SettingsError, read_settings
from app.vision.detection.detector import EFFORTS
from app.vision.models.cards import ModelError
from app.vision.models.loading import load_chosen
from app.vision.models.selection import split_names
from app.vision.pipeline import FaceAnalyzer
from bench import live, load
from bench.serving import BenchmarkError

TOKEN_BYTES = 24  # 192 bits: nobody guesses it.
SHARD_SIZE = 64  # What is lost of a killed worker's time is two seconds.


class Target(click.Path):
    """Name a file that is written when all is done, so that a failure leaves the one of before.

    What can't be written is told at once. "-" is the standard output.
    """

    def __init__(self) -> None:
        """Take a path."""
        super().__init__(dir_okay=False, writable=True, allow_dash=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        path = Path(str(super().convert(value, param, ctx)))
        if str(path) != "-" and not os.access(path.parent, os.W_OK | os.X_OK):
            self.fail(f"{path}: {path.parent} is no folder that can be written to.", param, ctx)
        return path


TARGET = Target()


class Commands(click.Group):
    """Answer bad settings with a sentence instead of a traceback."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except SettingsError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
def cli() -> None:
    """Read photos without a browser."""


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", type=TARGET, help="Write JSON to a file.")
@click.option("--csv", "as_csv", type=TARGET, help="Write a CSV row a face.")
@click.option(
    "--models",
    help="Which models answer, joined by commas: expression,gender by default, or clothing.",
)
@click.option("--effort", type=click.Choice(EFFORTS), help="How hard faces are searched.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Read an archive into this folder, or go on with the run that it holds. Paths may also "
    "be tar archives (.tar) and lists of URLs (.txt).",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="plain",
    show_default=True,
    help="With --out: one process, or Ray's actors on this machine or the cluster at RAY_ADDRESS.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="parquet",
    show_default=True,
    help="With --out: what is written, a row a face.",
)
@click.option(
    "--report",
    type=TARGET,
    help="With --out: write an HTML page of counts and distributions.",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Ray's actors; one for each processor by default."
)
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    default=SHARD_SIZE,
    show_default=True,
    help="With --out: pictures that are done, or done again, together.",
)
def analyze(
    paths: tuple[Path, ...],
    as_json: Path | None,
    as_csv: Path | None,
    models: str | None,
    effort: str | None,
    out: Path | None,
    engine: ExecutorName,
    form: Format,
    report: Path | None,
    workers: int | None,
    shard_size: int,
) -> None:
    """Analyze photos, and all photos in folders and their folders.

    Without --json, --csv or --out the answers are printed as JSON. A file that can't be read is
    reported and the rest is done; then the exit status is 1. With --out it becomes a row.
    """
    settings = read_settings()
    effort = effort or settings.effort
    names = split_names(models)
    if out:
        if as_json or as_csv:
            raise click.UsageError("--out takes the place of --json and --csv; see --format.")
        order = BatchJob(paths, out, effort, names, engine, form, shard_size, workers, report)
        _read_archive(settings, order)
        return
    if engine != "plain" or report:
        raise click.UsageError("Name the folder that is written to by --out.")
    try:
        analyzer = load_chosen(settings, names)
    except (ModelError, RautError) as error:
        raise click.ClickException(str(error)) from error
    photos, missing = _list_photos(paths)
    answers, refused = _analyze_all(analyzer, photos, names, effort)
    _write(answers, as_json, as_csv)
    for message in missing + refused:
        click.echo(message, err=True)
    sys.exit(1 if missing or refused else 0)


@cli.command("token")
@click.argument("name")
def make_token(name: str) -> None:
    """Make a token for somebody, and say what RAUT_TOKENS must hold for it.

    The token itself is kept nowhere: give it to them now.
    """
    # Only here is what the server needs needed.
    from app.web.server.auth import hash_token

    token = secrets.token_urlsafe(TOKEN_BYTES)
    click.echo(f"Token for {name}: {token}")
    click.echo(f"RAUT_TOKENS='{json.dumps({name: hash_token(token)})}'")
    click.echo("Add to the others, if there are any: one JSON object holds all.", err=True)


@cli.command("bench-stream")
@click.option("--clients", default=1, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(1))
@click.option(
    "--picture",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A photo with a face; it is panned, zoomed and turned.",
)
@click.option(
    "--rate",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    help="The cameras' frames a second; 0 sends as fast as answers come.",
)
@click.option("--url", help="Measure this server instead of one of its own.")
@click.option("--json", "as_json", type=TARGET, help="Write JSON to a file.")
def bench_stream(
    clients: int,
    seconds: float,
    picture: Path,
    rate: float,
    url: str | None,
    as_json: Path | None,
) -> None:
    """Measure live reading with several clients, and plain requests beside them.

    Prints a table, and the same figures as JSON where no file is named for them.
    """
    try:
        figures = live.measure_streams(picture, clients, seconds, rate, url and url.rstrip("/"))
    except (BenchmarkError, RautError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(live.write_table(figures))
    write_text(json.dumps(figures, indent=2) + "\n", as_json)


@cli.command("bench-load")
@click.option(
    "--picture",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The photo that every request sends.",
)
@click.option("--clients", default=64, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(1))
@click.option(
    "--rate",
    "rates",
    multiple=True,
    type=click.FloatRange(0.1),
    help="Requests a second, more than once if you like; 1, 2, 4, 8 times what it can serve else.",
)
@click.option("--url", help="Measure this server instead of one of its own.")
@click.option("--json", "as_json", type=TARGET, help="Write JSON to a file.")
def bench_load(
    picture: Path,
    clients: int,
    seconds: float,
    rates: tuple[float, ...],
    url: str | None,
    as_json: Path | None,
) -> None:
    """Measure photos that come whether or not the server keeps up.

    First one at a time, then as many as it can serve, then at each rate, and one at a time again.
    Prints a table, and the same figures as JSON where no file is named for them.
    """
    try:
        figures = load.measure_load(picture, clients, seconds, rates, url and url.rstrip("/"))
    except (BenchmarkError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(load.write_table(figures))
    write_text(json.dumps(figures, indent=2) + "\n", as_json)


def _read_archive(settings: Settings, order: BatchJob) -> None:
    """Read an archive, and say what its folder holds."""
    try:
        summary = read_archive(settings, order)
    except (ArchiveError, RayError, ModelError, RautError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(
        f"{order.folder} holds {summary.pictures:,} pictures with {summary.faces:,} faces; "
        f"{summary.errors.counts.total():,} pictures couldn't be read.",
        err=True,
    )


def _list_photos(paths: tuple[Path, ...]) -> tuple[list[Path], list[str]]:
    """List the photos below the paths, and a sentence for each path that isn't there."""
    photos: list[Path] = []
    missing: list[str] = []
    for path in paths:
        if path.is_dir():
            photos += find_photos(path)
        elif path.is_file():
            photos.append(path)
        else:
            missing.append(f"{path}: there is no such file or folder.")
    return photos, missing


def _analyze_all(
    analyzer: FaceAnalyzer, photos: list[Path], names: list[str] | None, effort: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Analyze each photo; return the answers and a sentence for each that was refused."""
    answers: list[dict[str, Any]] = []
    refused: list[str] = []
    with click.progressbar(
        photos, label="Analyzing", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as progress:
        for photo in progress:
            name = write_out(str(photo))
            try:
                analysis = analyzer.analyze_file(photo.read_bytes(), names, effort=effort)
            except (RautError, OSError) as error:
                refused.append(f"{name}: {error}")
            else:
                answers.append({"file": name, **analysis.to_json()})
    return answers, refused


def _write(answers: list[dict[str, Any]], as_json: Path | None, as_csv: Path | None) -> None:
    """Write the answers where they are wanted."""
    if as_json or not as_csv:
        write_text(json.dumps(answers, indent=2) + "\n", as_json)
    if as_csv:
        write_text(_list_as_csv(answers), as_csv)


def _list_as_csv(answers: list[dict[str, Any]]) -> str:
    """Return the rows of all photos."""
    rows = [row for answer in answers for row in list_rows(answer["file"], answer)]
    columns = list(dict.fromkeys(column for row in rows for column in row)) or ["file", "face"]
    stream = io.StringIO()
    write_csv(stream, rows, columns)
    return stream.getvalue()


if __name__ == "__main__":
    cli()
