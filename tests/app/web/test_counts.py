import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.web.server.counts import FILES, RESERVED_BYTES, release, reserve

# A worker that counts under many labels, in the folder of its first argument.
COUNTING = """
import os, pathlib, sys
os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]
if "reserve" in sys.argv:
    from app.web.server.counts import reserve
    assert reserve(pathlib.Path(sys.argv[1]), os.getpid())
try:
    with pathlib.Path(sys.argv[1], "rest").open("wb", buffering=0) as rest:
        while True:
            rest.write(bytes(4096))
except OSError:
    pass
from app.web.server.metrics import REQUESTS, REQUEST_SECONDS
for endpoint in range(30):
    for status in range(30):
        REQUESTS.labels(f"pages.photo_without_{endpoint}", status).inc()
    REQUEST_SECONDS.labels(f"pages.photo_without_{endpoint}").observe(1)
print(os.getpid())
"""
HOLDING = """
import pathlib, sys, time
from app.web.server import counts
counts.MEMORY = pathlib.Path(sys.argv[1])
print(counts.open_counts(), flush=True)
assert counts.open_counts() == counts.open_counts()
time.sleep(600)
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB in memory."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("Only root may mount a file system.")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def count_in(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", COUNTING, str(folder), *options]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)


def count_in_room(folder: Path) -> str:
    code = (
        "import os, pathlib; from app.web.server.counts import reserve;"
        "reserve(pathlib.Path(os.environ['PROMETHEUS_MULTIPROC_DIR']), os.getpid());"
        "from app.web.server.metrics import REQUESTS; REQUESTS.labels('home', 200).inc();"
        "print(os.getpid())"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    return subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)


def test_a_worker_that_reserved_space_counts_on_when_there_is_none_left(small: Path) -> None:
    assert count_in(small).returncode == -signal.SIGBUS
    for file in small.iterdir():
        file.unlink()
    counted = count_in(small, "reserve")
    assert counted.returncode == 0
    # So many labels as there never are, and the files did not grow.
    sizes = [(small / name.format(counted.stdout.strip())).stat().st_size for name in FILES]
    assert sizes == [RESERVED_BYTES] * 3


def test_without_space_nothing_is_reserved(small: Path) -> None:
    (small / "rest").write_bytes(bytes(600_000))
    assert not reserve(small, 1)
    assert [file.name for file in small.iterdir()] == ["rest"]


def test_a_dead_workers_counts_stay_and_take_no_more_than_they_need(tmp_path: Path) -> None:
    pid = int(count_in_room(tmp_path))
    release(tmp_path, pid)
    from prometheus_client import CollectorRegistry, multiprocess

    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(tmp_path))
    labels = {"endpoint": "home", "status": "200"}
    assert registry.get_sample_value("raut_requests_total", labels) == 1
    assert registry.get_sample_value("raut_streams_open") is None
    assert sum(file.stat().st_size for file in tmp_path.glob("*.db")) < 2_000


@contextmanager
def holding(memory: Path) -> Iterator[Path]:
    """Run a server that holds a folder, and kill it."""
    command = [sys.executable, "-c", HOLDING, str(memory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        yield Path(server.stdout.readline().strip())
        server.kill()


def test_a_killed_servers_folder_is_removed_and_a_running_ones_stays(tmp_path: Path) -> None:
    with holding(tmp_path) as running:
        with holding(tmp_path) as killed:
            assert running.is_dir()
        assert killed.is_dir()
        with holding(tmp_path) as another:
            assert list(tmp_path.iterdir()) in ([running, another], [another, running])
