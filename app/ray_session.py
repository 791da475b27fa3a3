"""Start Ray on this machine alone, or join a cluster."""

import importlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from app.errors import explain_missing
from app.settings import count_processors

ExecutorName = Literal["local", "ray"]  # in this process, or as Ray tasks and actors
ENGINES: tuple[ExecutorName, ...] = get_args(ExecutorName)
ROOT = Path(__file__).resolve().parents[1]  # Cluster machines have the code at the same path.
# Paths of Unix sockets may have 107 bytes, for which macOS' temporary folder is too long.
# TemporaryDirectory makes a private folder in it.
SHORT = Path("/tmp")  # nosec B108
STARTS = 3  # Each one times out after 30 seconds.
QUIET = {
    # No usage reports to Ray's vendor.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_enable_metrics_collection": "0",
}
ALONE = {
    # Listen on loopback only. Despite its name, Ray reads this variable on Linux too.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Workers keep the priority of the command instead of Ray's low one.
    "RAY_worker_niceness": "0",
}


class RayError(Exception):
    """Say why Ray can't run or gave up, and what to do."""


def find_reason(error: Exception) -> str:
    """Return the first line of an exception's message, or its class name."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def start_ray(
    processors: int | None = None,
    library: str = "ray",
    environment: Mapping[str, str] | None = None,
    show_workers: bool = False,
) -> Iterator[None]:
    """Start Ray on this machine alone, or join the cluster at RAY_ADDRESS.

    `processors` is the number of this machine's CPUs to use, all by default; a cluster uses its
    own. `library` is the part of Ray to import. `environment` holds variables for a cluster's
    workers; those of this machine inherit the command's. `show_workers` prints their output. Ray's
    logs on this machine go to a temporary folder. Raises `RayError` where Ray isn't installed or
    can't be reached.
    """
    address = os.environ.get("RAY_ADDRESS") or "local"
    os.environ.update(QUIET if address != "local" else QUIET | ALONE)
    try:
        ray = importlib.import_module("ray")
        importlib.import_module(library)
    except ImportError as error:
        raise RayError(explain_missing("the engine ray", error)) from error
    options: dict[str, Any] = {"log_to_driver": show_workers, "logging_level": logging.CRITICAL}
    with tempfile.TemporaryDirectory(
        prefix="raut-", dir=SHORT if SHORT.is_dir() else None, ignore_cleanup_errors=True
    ) as notes:
        if address == "local":
            options |= {
                "num_cpus": processors or count_processors(),
                "include_dashboard": False,
                "_temp_dir": notes,
            }
        else:
            given = {**(environment or {}), "PYTHONPATH": str(ROOT)}
            options["runtime_env"] = {"env_vars": given}
        for tries_left in reversed(range(STARTS if address == "local" else 1)):
            try:
                ray.init(address, **options)
                break
            except Exception as error:  # Ray raises bare exceptions here, too.
                ray.shutdown()
                if not tries_left:
                    message = f"Ray doesn't start, or isn't reached at {address}: {error}"
                    raise RayError(message) from error
        try:
            yield
        finally:
            ray.shutdown()
