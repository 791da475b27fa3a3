"""Tell how many pictures are done, and how long the others still take."""

import sys
import time

import click

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Tell on stderr how far a run is: in one line on a terminal, in a line now and then else."""

    def __init__(self, total: int, done: int) -> None:
        """Begin with the pictures that are done already."""
        self._total = total
        self._done = self._first = done
        self._started = time.monotonic()
        self._told = -SECONDS_BETWEEN_LINES
        self._terminal = sys.stderr.isatty()

    def advance(self, pictures: int) -> None:
        """Count pictures that got done."""
        self._done += pictures
        passed = time.monotonic() - self._started
        last = self._done == self._total
        if self._terminal or last or passed - self._told >= SECONDS_BETWEEN_LINES:
            self._told = passed
            rate = (self._done - self._first) / passed
            minutes, seconds = divmod(round((self._total - self._done) / rate), 60)
            line = (
                f"{self._done:,} of {self._total:,} pictures, {rate:.1f} a second, "
                f"left {minutes}:{seconds:02d}"
            )
            # On a terminal a line replaces the one before, which may have been longer.
            click.echo(
                f"\r{line:<70}" if self._terminal else line, err=True, nl=not self._terminal or last
            )
