"""Show on stderr how many pictures are done, and the time left."""

import sys
import time

import click

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Show progress: on a terminal in one line, into a pipe (where `in_pipes`) a line at times."""

    def __init__(self, total: int, done: int = 0, in_pipes: bool = True) -> None:
        self._total = total
        self._done = self._first = done
        self._started = time.monotonic()
        self._shown = -SECONDS_BETWEEN_LINES
        self._terminal = sys.stderr.isatty()
        self._hidden = not (self._terminal or in_pipes)

    def advance(self, pictures: int) -> None:
        """Count pictures that are done."""
        self._done += pictures
        passed = time.monotonic() - self._started
        last = self._done == self._total
        due = self._terminal or last or passed - self._shown >= SECONDS_BETWEEN_LINES
        if self._hidden or not due:
            return
        self._shown = passed
        rate = (self._done - self._first) / passed
        minutes, seconds = divmod(round((self._total - self._done) / rate), 60)
        line = (
            f"{self._done:,} of {self._total:,} pictures, {rate:.1f} a second, "
            f"left {minutes}:{seconds:02d}"
        )
        # On a terminal a line replaces the one before, which may have been longer.
        text = f"\r{line:<70}" if self._terminal else line
        click.echo(text, err=True, nl=not self._terminal or last)
