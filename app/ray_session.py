"""Start Ray on this machine alone, or join a cluster."""

import importlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from app.optional_packages import explain_missing
from app.settings import count_processors

ExecutorName = Literal["plain", "ray"]  # who carries pieces of work out: one process, or Ray
ENGINES: tuple[ExecutorName, ...] = get_args(ExecutorName)
ROOT = Path(__file__).resolve().parents[1]  # where a cluster's machines find this very code
# Sockets lie below, whose paths may have 107 bytes; macOS' own temporary folder has a long name.
# The folder made in it has a new name and is its owner's alone.
SHORT = Path("/tmp")  # nosec B108
STARTS = 3  # Ray gives a start up after 30 seconds.
QUIET = {
    # Ray would report its use to its maker.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_enable_metrics_collection": "0",
}
ALONE = {
    # Ray looks for an address that other machines reach, and listens on all of this one's, unless
    # this variable, which is read on every system, says that there are no others.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray would run its workers at the lowest priorities; they get that of the command.
    "RAY_worker_niceness": "0",
}


class RayError(Exception):
    """End what Ray was to do; the text says what is wrong and what to do."""


def find_reason(error: Exception) -> str:
    """Return the first line of what Ray says went wrong, or the exception's name for nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def start_ray(
    processors: int | None = None,
    library: str = "ray",
    environment: Mapping[str, str] | None = None,
    show_workers: bool = False,
) -> Iterator[None]:
    """Start Ray on this machine alone, or join the cluster at RAY_ADDRESS.

    `processors` is how many of this machine's are given away, all by default; a cluster has its
    own. `library` is the part of Ray that is used. `environment` is for a cluster's workers: those
    of this machine have the command's. `show_workers` prints what they print. What Ray notes on
    this machine goes into a folder of its own, which is removed at the end. Raises `RayError` where
    Ray isn't installed or can't be reached.
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
        _reach_ray(address, options)
        try:
            yield
        finally:
            ray.shutdown()


def _reach_ray(address: str, options: dict[str, Any]) -> None:
    """Start Ray, or join it; a busy machine may take longer to start than Ray waits."""
    import ray

    for tries_left in reversed(range(STARTS if address == "local" else 1)):
        try:
            ray.init(address, **options)
            return
        except Exception as error:  # Ray raises nearly anything here, bare exceptions too.
            ray.shutdown()
            if not tries_left:
                raise RayError(
                    f"Ray doesn't start, or isn't reached at {address}: {error}"
                ) from error
