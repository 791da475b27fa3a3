"""Run the command line: python -m app <command>."""

import csv
import io
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import click

from app.benchmarks import load, stream
from app.benchmarks.serving import BenchmarkError
from app.catalog import load_analyzer
from app.files import write_whole
from app.refusals import Refusal
from app.settings import SettingsFault, read_settings
from app.vision.analyzer import FaceAnalyzer
from app.vision.cards import ModelError
from app.vision.detection import EFFORTS

TOKEN_BYTES = 24  # 192 bits: nobody guesses it.
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


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
        except SettingsFault as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
def cli() -> None:
    """Read faces without a browser."""


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", type=TARGET, help="Write JSON to a file.")
@click.option("--csv", "as_csv", type=TARGET, help="Write a CSV row a face.")
@click.option("--effort", type=click.Choice(EFFORTS), help="How hard faces are searched.")
def analyze(
    paths: tuple[Path, ...], as_json: Path | None, as_csv: Path | None, effort: str | None
) -> None:
    """Analyze photos, and all photos in folders and their folders.

    Without --json or --csv the answers are printed as JSON. A file that can't be read is
    reported and the rest is done; then the exit status is 1.
    """
    try:
        settings = read_settings()
        analyzer = load_analyzer(settings)
    except ModelError as error:
        raise click.ClickException(str(error)) from error
    photos, missing = _list_photos(paths)
    answers, refused = _analyze_all(analyzer, photos, effort or settings.effort)
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
    from app.web.access import hash_token

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
        figures = stream.measure_streams(picture, clients, seconds, rate, url and url.rstrip("/"))
    except (BenchmarkError, Refusal) as error:
        raise click.ClickException(str(error)) from error
    click.echo(stream.write_table(figures))
    _write_text(json.dumps(figures, indent=2) + "\n", as_json)


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
    _write_text(json.dumps(figures, indent=2) + "\n", as_json)


def _list_photos(paths: tuple[Path, ...]) -> tuple[list[Path], list[str]]:
    """List the photos below the paths, and a sentence for each path that isn't there."""
    photos: list[Path] = []
    missing: list[str] = []
    for path in paths:
        if path.is_dir():
            found = (p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
            photos += sorted(p for p in found if p.is_file())
        elif path.is_file():
            photos.append(path)
        else:
            missing.append(f"{path}: there is no such file or folder.")
    return photos, missing


def _analyze_all(
    analyzer: FaceAnalyzer, photos: list[Path], effort: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Analyze each photo; return the answers and a sentence for each that was refused."""
    answers: list[dict[str, Any]] = []
    refused: list[str] = []
    with click.progressbar(
        photos, label="Analyzing", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as progress:
        for photo in progress:
            try:
                analysis = analyzer.analyze_file(photo.read_bytes(), effort=effort)
            except (Refusal, OSError) as error:
                refused.append(f"{photo}: {error}")
            else:
                answers.append({"file": str(photo), **analysis.to_json()})
    return answers, refused


def _write(answers: list[dict[str, Any]], as_json: Path | None, as_csv: Path | None) -> None:
    """Write the answers where they are wanted."""
    if as_json or not as_csv:
        _write_text(json.dumps(answers, indent=2) + "\n", as_json)
    if as_csv:
        _write_text(_list_as_csv(answers), as_csv)


def _write_text(text: str, target: Path | None) -> None:
    """Write a whole file, or to the standard output where none is named."""
    if target is None or str(target) == "-":
        click.echo(text, nl=False)
    elif target.exists() and not target.is_file():  # a pipe, or a device
        target.write_text(text, encoding="utf-8")
    else:
        write_whole(target.resolve(), lambda stream: stream.write(text.encode()))


def _list_as_csv(answers: list[dict[str, Any]]) -> str:
    """Return a row for each face; a photo without a face has none."""
    rows = [
        {"file": answer["file"], "face": number, **_flatten(face)}
        for answer in answers
        for number, face in enumerate(answer["faces"], start=1)
    ]
    columns = list(dict.fromkeys(column for row in rows for column in row)) or ["file", "face"]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Join nested keys with underscores: expression_probabilities_happy."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}_")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


if __name__ == "__main__":
    cli()
