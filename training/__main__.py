"""Run the training package: python -m training <command>."""

from __future__ import annotations

import os
from pathlib import Path

import click

# TensorFlow tells of every processor feature it finds; only warnings and errors are wanted.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@click.group()
def cli() -> None:
    """Build, measure and export the models that Raut serves."""


@cli.command()
@click.argument("recipe", required=False)
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--resume", type=click.Path(path_type=Path, exists=True), help="A run to go on with.")
@click.option("--set", "changes", multiple=True, help="Change a key: schedule.epochs=10")
def fit(recipe: str | None, out: Path | None, resume: Path | None, changes: tuple[str, ...]) -> None:
    """Fit a network by RECIPE (a name in training/recipes, or a path)."""
    from training import fitting
    from training.recipes import load_recipe

    if not recipe:
        raise click.UsageError("Name a recipe.")
    chosen = load_recipe(recipe, changes)
    fitting.fit(chosen, resume or out or Path("runs") / chosen.name)


if __name__ == "__main__":
    cli()
