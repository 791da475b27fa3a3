"""Declare the command line: raut <command>, or python -m app <command>."""

import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Any

import click

from app import __version__
from app.batch.inputs import ArchiveError
from app.batch.job import SHARD_SIZE, BatchJob, run_job
from app.batch.tables import DIALECTS, FORMATS
from app.errors import RautError
from app.ray_session import ENGINES, RayError
from app.settings import SettingsError, read_settings
from app.studies import StudyError
from app.vision.detection.detector import EFFORTS
from app.vision.models.cards import ModelError

CLOCK = r"(?:\d+:){0,2}\d+(?:\.\d+)?"
TOKEN_BYTES = 24  # 192 bits of entropy
FAILURES = (ArchiveError, ModelError, RautError, RayError, SettingsError, StudyError)


class Target(click.Path):
    """Name a file to write, "-" for the standard output; a folder not writable is a usage error."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, writable=True, allow_dash=True, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        path = Path(str(super().convert(value, param, ctx)))
        if str(path) != "-" and not os.access(path.parent, os.W_OK | os.X_OK):
            self.fail(f"{path}: {path.parent} is no folder that can be written to.", param, ctx)
        return path


class Span(click.ParamType):
    """Take a part of a film, such as 0:10-1:30 or 90-, as its seconds; the end may be None."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the seconds from which and until which a film is read."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(rf"({CLOCK})-({CLOCK})?", value)
        if found:
            start, end = _seconds(found[1]), _seconds(found[2]) if found[2] else None
            if end is None or start < end:
                return start, end
        self.fail(f"{value!r} is no range such as 0:10-1:30 or 1:02:00-.", param, ctx)


def _seconds(clock: str) -> float:
    return sum(float(part) * 60**power for power, part in enumerate(reversed(clock.split(":"))))


TARGET = Target()


class Commands(click.Group):
    """Print expected failures as a sentence instead of a traceback."""

    failures: tuple[type[Exception], ...] = FAILURES

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except self.failures as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="raut")
def cli() -> None:
    """Find faces in photos and read the expression shown and the perceived gender."""


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", type=TARGET, help="Write the results to a file as JSON.")
@click.option("--csv", "as_csv", type=TARGET, help="Write the results as CSV, a row for each face.")
@click.option(
    "--csv-dialect",
    type=click.Choice(list(DIALECTS)),
    default="rfc4180",
    show_default=True,
    help="With --csv: excel begins the file with a byte order mark; excel-id also has semicolons "
    "and decimal commas, as Excel reads them in Indonesian.",
)
@click.option("--verbose", is_flag=True, help="Name the hidden files and folders left out.")
@click.option(
    "--models",
    help="Comma-separated models, such as clothing; expression,gender by default.",
)
@click.option(
    "--effort",
    type=click.Choice(EFFORTS),
    help="Effort of the face search; by default RAUT_EFFORT for photos, fast for films.",
)
@click.option(
    "--fps",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Of films: frames to read a second.",
)
@click.option(
    "--range",
    "span",
    type=Span(),
    default=(0.0, None),
    metavar="FROM-TO",
    help="Of films: the part to read, such as 0:10-1:30 or 1:02:00-.",
)
@click.option(
    "--vtt",
    type=TARGET,
    help="Of one film: write the expressions of each track as WebVTT, which plays beside it.",
)
@click.option(
    "--annotated",
    type=TARGET,
    help="Of one film: write an MP4 with the boxes and labels drawn in, without sound.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the rows of an archive into this folder, or resume the run in it.",
)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="local",
    show_default=True,
    help="With --out: this process, or Ray actors on this machine or the cluster at RAY_ADDRESS.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="parquet",
    show_default=True,
    help="With --out: format of the tables, which have a row for each face.",
)
@click.option(
    "--report", type=TARGET, help="With --out: write an HTML page of counts and distributions."
)
@click.option(
    "--workers", type=click.IntRange(1), help="Number of Ray actors; one for each CPU by default."
)
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    default=SHARD_SIZE,
    show_default=True,
    help="With --out: pictures in a shard, the unit of work that is retried or resumed.",
)
def analyze(**options: Any) -> None:
    """Analyze photos and films.

    PATHS are photos, films, folders of them with their subfolders, uncompressed tar archives (.tar)
    of photos and lists of URLs (.txt). Each frame that is read of a film counts as a picture, with
    its time. Hidden files and folders of thumbnails are left out. The results are
    printed as JSON unless --json, --csv or --out says otherwise. In tables a photo without faces
    has a row, and one that can't be read a row with its error. Without --out, such a photo is
    reported on stderr, the others are analyzed, and the exit status is 1.
    """
    sys.exit(run_job(read_settings(), BatchJob(**options)))


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--server",
    type=click.Choice(["gunicorn", "waitress"]),
    help="gunicorn by default where it runs; waitress, which has no live socket, elsewhere.",
)
def serve(host: str, server: str | None) -> None:
    """Serve the pages and the API at the port in PORT, 8000 by default."""
    # Flask is slow to import, and `analyze` doesn't need it.
    from app.serve import serve as run_server

    run_server(read_settings(), host, server)


@cli.command("token")
@click.argument("name")
def make_token(name: str) -> None:
    """Generate an access token for NAME, and print its entry for RAUT_TOKENS.

    The token itself is stored nowhere.
    """
    from app.web.server.auth import hash_token

    token = secrets.token_urlsafe(TOKEN_BYTES)
    click.echo(f"Token for {name}: {token}")
    click.echo(f"RAUT_TOKENS='{json.dumps({name: hash_token(token)})}'")
    click.echo("RAUT_TOKENS is one JSON object with an entry for each client.", err=True)


if __name__ == "__main__":
    cli()
