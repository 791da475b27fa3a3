"""Show how far a training is and how long it still takes."""

import sys
import time
from pathlib import Path
from typing import Any

import click


class Progress:
    """Show a bar on a terminal, and a line an epoch everywhere."""

    def __init__(self, name: str, total_steps: int, step: int) -> None:
        """Begin at a step, which isn't 0 for a resumed training."""
        self.total_steps = total_steps
        self.step = self.first_step = step
        self.started = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            self.bar = click.progressbar(
                length=total_steps, label=name, file=sys.stderr, show_pos=True
            )
            self.bar.update(step)

    def advance(self) -> None:
        """Count one step."""
        self.step += 1
        if self.bar:
            self.bar.update(1)

    def report(self, row: dict[str, Any]) -> None:
        """Print an epoch's row of the history, with the time left."""
        passed = time.monotonic() - self.started
        left = passed / (self.step - self.first_step) * (self.total_steps - self.step)
        figures = "  ".join(f"{key} {value}" for key, value in row.items())
        minutes, seconds = divmod(round(left), 60)
        # On a terminal the bar's line is cleared first.
        click.echo(
            f"{chr(13) if self.bar else ''}{figures}  left {minutes}:{seconds:02d}", err=True
        )

    def finish(self) -> None:
        """Leave the bar's line."""
        if self.bar:
            self.bar.render_finish()


class TensorBoard:
    """Write the figures of each epoch as TensorBoard reads them."""

    def __init__(self, folder: Path) -> None:
        """Open the event file in a folder."""
        import tensorflow as tf

        self._summary = tf.summary
        self._writer = tf.summary.create_file_writer(str(folder))

    def write(self, row: dict[str, Any]) -> None:
        """Add an epoch's row of the history."""
        with self._writer.as_default(step=row["epoch"]):
            for name, value in row.items():
                self._summary.scalar(name, value)
        self._writer.flush()
