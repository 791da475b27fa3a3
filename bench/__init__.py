"""Measure the speed of Raut, alone and beside similar libraries."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class BenchmarkError(Exception):
    """Report why something could not be measured."""
