"""Declare every setting once: its name, type, default and help. Read from RAUT_* variables."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, HttpUrl, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

# What a request may hold beside its photo: the fields and frame of a form.
FORM_BYTES = 500_000
# Settings that may hold a password or a token, which no message repeats.
SECRET = frozenset({"inference_url", "rate_limit_storage", "tokens"})


class SettingsError(ValueError):
    """Tell which variables hold what they can't, and why."""


def count_processors() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS has none.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_limit(limit: str) -> str:
    """Return a rate limit that can be understood. Raises `ValueError`."""
    # Only the server needs it, and it takes long to import.
    from limits import parse

    if limit:
        parse(limit)
    return limit


class Settings(BaseSettings):
    """Hold the settings of one application."""

    # An address with a password in it is refused, and mustn't stand in the log for that.
    model_config = SettingsConfigDict(env_prefix="RAUT_", frozen=True, hide_input_in_errors=True)

    models: Path = Field(Path("models"), description="Folder of the models that are served.")
    studies: Path = Field(
        Path("training/results"),
        description="Folder of the results of the published studies, which /models shows.",
    )
    runtime: Literal["auto", "keras", "onnx", "remote"] = Field(
        "auto",
        description="What runs the models: auto takes the ONNX export, with 8-bit convolutions "
        "where they lose nothing; onnx the exact one; remote an inference server (docs/remote.md), "
        "to which crops of the faces are sent.",
    )
    inference_url: HttpUrl | None = Field(
        None, description="Where the inference server is: http or https, with a path if it has one."
    )
    inference_timeout: float = Field(
        2.0, gt=0, le=60, description="How long the inference server may take for one batch."
    )
    breaker_threshold: int = Field(
        5,
        ge=1,
        description="After so many batches in a row without an answer, the inference server is "
        "left alone for a while, and what needs it is refused at once.",
    )
    breaker_reset: float = Field(10.0, gt=0, description="How long that while is.")
    label_set: Literal["original", "ferplus"] | None = Field(
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
    queue_size: int = Field(
        1,
        ge=0,
        description="Photos that may wait for their turn in each worker process; a further one is "
        "refused at once, to try again. Each waits as long as reading a photo takes, so that more "
        "would be answered later than their senders are patient.",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        le=300,
        description="How long a server that is told to end still takes new requests, while /readyz "
        "answers 503 and live sockets move on: long enough for a proxy in front to notice.",
    )
    track_max_age: float = Field(
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
    trusted_proxies: int = Field(
        0,
        ge=0,
        description="How many proxies stand in front: so many of the addresses that they note in "
        "X-Forwarded-For are believed, and the same for X-Forwarded-Proto.",
    )
    rate_limit: Annotated[str, AfterValidator(_check_limit)] = Field(
        "600/minute",
        description="How many photos, steps pages and live sockets one client may ask for, in the "
        "notation of the package limits; empty for no limit. A client is a token's holder, an "
        "address, or a network of IPv6.",
    )
    rate_limit_storage: str = Field(
        "memory://",
        pattern=r"^(memory|shared|redis|rediss|redis\+unix)://",
        description="Where photos are counted for their limit; gunicorn.conf.py sets a place in "
        "memory that all worker processes share, and redis://host:port/number has several servers "
        "count together.",
    )
    tokens: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = Field(
        {},
        description="Who may have photos read, as JSON: a name for each, and the hash of their "
        "token, both of which `python -m app token NAME` prints; everybody by default.",
    )

    @property
    def most_photo_bytes(self) -> int:
        """Return the size of the largest photo taken."""
        return self.max_upload_mb * 1_000_000

    @property
    def most_body_bytes(self) -> int:
        """Return the size of the largest request read, with its photo or all of its photos."""
        return self.most_photo_bytes + FORM_BYTES

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


def read_settings() -> Settings:
    """Return the settings that the environment holds. Raises `SettingsError`."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(fault) for fault in error.errors())) from error
    except SourceError as error:
        # pydantic-settings names the field, and nothing else that helps.
        fields = [name for name in Settings.model_fields if f'"{name}"' in str(error)]
        raise SettingsError(f"{_variable(*fields)} must be JSON.") from error


def _explain(fault: Any) -> str:
    """Say in words what is wrong with one variable, or with several together."""
    if not fault["loc"]:
        return str(fault["ctx"]["error"])
    got = "" if fault["loc"][0] in SECRET else f" (got {fault['input']!r})"
    return f"{_variable(*fault['loc'])}: {fault['msg']}{got}."


def _variable(name: str, *_: object) -> str:
    """Return the variable that a setting is read from."""
    alias = Settings.model_fields[name].validation_alias if name in Settings.model_fields else name
    return str(alias or f"RAUT_{name.upper()}")
