"""Declare every setting once: its name, type, default and help. Read from RAUT_* variables."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, HttpUrl, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def count_processors() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS has none.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Settings(BaseSettings):
    """Hold the settings of one application."""

    # An address with a password in it is refused, and mustn't stand in the log for that.
    model_config = SettingsConfigDict(env_prefix="RAUT_", frozen=True, hide_input_in_errors=True)

    models: Path = Field(Path("models"), description="Folder of the models that are served.")
    runtime: Literal["auto", "keras", "onnx", "remote"] = Field(
        "auto",
        description="What runs the models: auto takes the ONNX export, remote an inference server "
        "(docs/remote.md), to which crops of the faces are sent.",
    )
    inference_url: HttpUrl | None = Field(
        None, description="Where the inference server is: http or https, with a path if it has one."
    )
    inference_seconds: float = Field(
        2.0, gt=0, le=60, description="How long the inference server may take for one batch."
    )
    inference_failures: int = Field(
        5,
        ge=1,
        description="After so many batches in a row without an answer, the inference server is "
        "left alone for a while, and what needs it is refused at once.",
    )
    inference_pause_seconds: float = Field(10.0, gt=0, description="How long that while is.")
    expression_labels: Literal["original", "ferplus"] | None = Field(
        None, description="Which labels the expression follows; the model's card by default."
    )
    effort: Literal["fast", "balanced", "thorough"] = Field(
        "balanced",
        description="How hard faces are searched in a photo whose request doesn't say: fast looks "
        "once, balanced again where nothing was found, thorough for all turns and sizes.",
    )
    threads: int = Field(1, ge=1, description="Threads of ONNX Runtime for one batch of faces.")
    max_upload_mb: int = Field(20, ge=1, description="Largest photo taken, in megabytes.")
    max_streams: int = Field(
        16,
        ge=1,
        description="Live sockets open at the same time, shared out evenly among the worker "
        "processes: a worker that holds its share sends a further one away, to try again.",
    )
    max_waiting: int = Field(
        1,
        ge=0,
        description="Photos that may wait for their turn in each worker process; a further one is "
        "refused at once, to try again. Each waits as long as reading a photo takes, so that more "
        "would be answered later than their senders are patient.",
    )
    track_seconds: float = Field(
        1.0, ge=0, le=10, description="How long a face that is missed keeps its number."
    )
    workers: int = Field(
        1,
        ge=1,
        validation_alias="WEB_CONCURRENCY",
        description="Worker processes of the web server; gunicorn.conf.py sets it.",
    )
    trusted_hosts: list[str] = Field(
        [], description='Host names answered to, as JSON: ["raut.example.org"]; any by default.'
    )

    @model_validator(mode="after")
    def _check_server(self) -> "Settings":
        """Refuse a remote runtime without an address, and an address that is more than a place."""
        url = self.inference_url
        if self.runtime == "remote" and url is None:
            raise ValueError("RAUT_RUNTIME=remote needs RAUT_INFERENCE_URL.")
        if url and (url.username or url.password or url.query or url.fragment):
            raise ValueError("RAUT_INFERENCE_URL may hold a host, a port and a path, nothing else.")
        return self

    @property
    def at_once(self) -> int:
        """Return one worker's share of the processors: how many analyses it runs at once."""
        return max(1, count_processors() // self.workers)

    @property
    def streams_per_worker(self) -> int:
        """Return one worker's share of the live sockets, at least one."""
        return max(1, self.max_streams // self.workers)
