"""Declare every setting once: name, type, default and help. Read from RAUT_* variables.

`make docs` writes docs/settings.md from this file.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, DirectoryPath, Field, HttpUrl, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from app.paths import MODELS, STUDIES

# The largest size of a form's other fields and its boundaries.
FORM_BYTES = 500_000
# Settings that may hold a password or a token: error messages omit their values.
SECRET = frozenset({"inference_url", "rate_limit_storage", "tokens"})


class SettingsError(ValueError):
    """Name the environment variables whose values are invalid, and say why."""


def count_processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS has none.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_limit(limit: str) -> str:
    from limits import parse  # Slow to import, and only the server needs it.

    if limit:
        parse(limit)
    return limit


class Settings(BaseSettings):
    """Hold the settings of one application."""

    # A rejected URL may hold a password, which must not reach the log.
    model_config = SettingsConfigDict(
        env_prefix="RAUT_",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    models: Path = MODELS
    """Folder of the models to serve."""
    studies: Path = STUDIES
    """Folder of the results of the published studies, shown on /models."""
    samples: DirectoryPath | None = None
    """Folder of up to three photos (JPEG, PNG or WebP) that the start page offers to try; their
    file names are shown, so let them name the source."""
    runtime: Literal["auto", "keras", "onnx", "remote"] = "auto"
    """Runtime of the models. `auto` runs the ONNX export, quantized to 8 bits where that loses no
    accuracy; `onnx` runs the unquantized export; `keras` needs TensorFlow; `remote` sends face
    crops to an inference server (docs/remote.md)."""
    label_set: Literal["joined", "original", "ferplus"] | None = None
    """Label set of the expression model; the card's default where unset."""
    effort: Literal["fast", "balanced", "thorough"] = "balanced"
    """Default search effort. `fast` runs one search pass; `balanced` adds passes where no face was
    found; `thorough` searches all rotations and sizes."""
    detector: Literal["combined", "haar"] = "combined"
    """What proposes faces. `combined` runs the Haar cascade and a network; `haar` the cascade
    alone, as the papers do: it finds upright frontal faces."""
    mirror_averaging: bool = True
    """Read each face of a photo as its mirror image too, and average both, with the models whose
    card says so. The live page never does."""
    threads: int = Field(1, ge=1)
    """ONNX Runtime threads for each batch."""
    analysis_timeout: float = Field(10.0, gt=0, le=600)
    """Seconds after which the analysis of one request or live frame is ended, and refused with 503.
    """
    track_max_age: float = Field(2.5, ge=0, le=10)
    """Seconds for which a track survives without a detection."""
    inference_url: HttpUrl | None = None
    """Base URL of the inference server: http or https, with an optional path."""
    inference_timeout: float = Field(2.0, gt=0, le=60)
    """Timeout of one batch on the inference server, in seconds."""
    breaker_threshold: int = Field(5, ge=1)
    """Consecutive failed batches after which the circuit breaker opens."""
    breaker_reset: float = Field(10.0, gt=0)
    """Seconds for which an open circuit breaker rejects requests."""
    port: int = Field(8000, ge=0, le=65535, validation_alias="PORT")
    """TCP port of the web server; 0 takes any free one."""
    workers: int = Field(1, ge=1, validation_alias="WEB_CONCURRENCY")
    """Worker processes of gunicorn; gunicorn.conf.py defaults to one for each processor, at most
    four."""
    max_upload_mb: int = Field(20, ge=1)
    """Largest accepted photo, in megabytes."""
    max_streams: int = Field(16, ge=1)
    """Concurrent WebSocket streams, divided evenly among the workers. Further clients are told to
    try again later."""
    max_streams_per_client: int = Field(8, ge=1)
    """Concurrent WebSocket streams of one client, divided evenly among the workers. A client is a
    token, an IPv4 address or an IPv6 network."""
    queue_seconds: float = Field(3.0, ge=0, le=60)
    """Longest wait of a photo for its turn, as estimated from the last photos. One that would wait
    longer is refused at once with 503 and Retry-After."""
    drain_seconds: float = Field(0.0, ge=0, le=300)
    """Seconds for which a terminating server still accepts requests while /readyz answers 503, so
    that a proxy can take it out of rotation."""
    trusted_hosts: list[str] = []
    """Accepted host names, as JSON: `["raut.example.org"]`; any by default."""
    trusted_proxies: int = Field(0, ge=0)
    """Number of reverse proxies in front: how many entries of X-Forwarded-For and X-Forwarded-Proto
    to trust."""
    rate_limit: Annotated[str, AfterValidator(_check_limit)] = "600/minute"
    """Photos, steps pages and streams that one client may request, in the notation of the `limits`
    package; empty for no limit. A client is a token, an IPv4 address or an IPv6 network."""
    rate_limit_storage: str = Field(
        "memory://", pattern=r"^(memory|shared|redis|rediss|redis\+unix)://"
    )
    """Storage of the rate limit's counters. gunicorn.conf.py sets one in memory shared by all
    workers; `redis://host:port/number` is shared by several servers."""
    tokens: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] = {}
    """Clients that may send photos, as JSON: the SHA-256 of each one's token by name, as printed by
    `raut token NAME`; everybody by default."""

    sandbox: Literal["auto", "require", "off"] = "auto"
    """Whether the kernel restricts the workers, by Landlock and seccomp on Linux. `auto` restricts
    them as far as the kernel can; `require` refuses to start where it can't; `off` leaves them
    alone."""

    @property
    def most_photo_bytes(self) -> int:
        """Return the size of the largest accepted photo."""
        return self.max_upload_mb * 1_000_000

    @property
    def most_body_bytes(self) -> int:
        """Return the size of the largest accepted request body."""
        return self.most_photo_bytes + FORM_BYTES

    @property
    def counts_clients(self) -> bool:
        """Return whether clients are counted: their photos, or the tokens that they guess."""
        return bool(self.rate_limit or self.tokens)

    @model_validator(mode="after")
    def _check_server(self) -> "Settings":
        url = self.inference_url
        if self.runtime == "remote" and url is None:
            raise ValueError("RAUT_RUNTIME=remote needs RAUT_INFERENCE_URL.")
        if url and (url.username or url.password or url.query or url.fragment):
            raise ValueError("RAUT_INFERENCE_URL may hold a host, a port and a path, nothing else.")
        return self

    @property
    def at_once(self) -> int:
        """Return how many analyses a worker runs concurrently: its share of the processors."""
        return max(1, count_processors() // self.workers)

    @property
    def streams_per_worker(self) -> int:
        """Return a worker's share of the WebSocket streams, at least one."""
        return max(1, self.max_streams // self.workers)

    @property
    def streams_per_client(self) -> int:
        """Return a worker's share of one client's WebSocket streams, at least one."""
        return max(1, self.max_streams_per_client // self.workers)


def read_settings() -> Settings:
    """Read the settings from the environment. Raises `SettingsError`."""
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(fault) for fault in error.errors())) from error
    except SourceError as error:
        # pydantic-settings gives nothing but the field's name, in quotes.
        fields = [name for name in Settings.model_fields if f'"{name}"' in str(error)]
        raise SettingsError(f"{variable_of(*fields)} must be JSON.") from error


def _explain(fault: Any) -> str:
    if not fault["loc"]:
        return str(fault["ctx"]["error"])
    got = "" if fault["loc"][0] in SECRET else f" (got {fault['input']!r})"
    return f"{variable_of(*fault['loc'])}: {fault['msg']}{got}."


def variable_of(name: str, *_: object) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias if name in Settings.model_fields else name
    return str(alias or f"RAUT_{name.upper()}")
