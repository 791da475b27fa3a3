import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.frames import Close
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket
from websockets.typing import Origin

from bench.serving import find_free_port, write_form
from tests.helpers.forms import ASTRONAUT_PNG
from tests.helpers.nginx import ROOT, Front
from tests.helpers.servers import FRAME, GRACE_SECONDS, PATIENCE, Server, ask, fetch, start

UPSTREAM = ROOT / "deploy/upstream.crowd.conf"
NAMES = re.findall(r"^ +server (\S+):8000", UPSTREAM.read_text(), re.M)
# Room enough that none is refused while there is one server less; and longer than nginx keeps an
# unused connection.
SETTINGS = {"RAUT_QUEUE_SECONDS": "30", "RAUT_DRAIN_SECONDS": "1.5", "RAUT_TRUSTED_PROXIES": "1"}
# Between two photos of a visitor, so that a server that starts gets a processor, too.
PACE_SECONDS = 0.05


class Crowd:
    """Servers that keep their addresses when they are restarted."""

    def __init__(self) -> None:
        ports = [find_free_port() for _ in NAMES]
        processes = [start(PORT=str(port), **SETTINGS) for port in ports]
        self.servers = [Server(process) for process in processes]

    @property
    def addresses(self) -> dict[str, str]:
        return dict(zip(NAMES, (server.netloc for server in self.servers), strict=True))

    def restart(self, number: int) -> None:
        """Tell a server to end, and start another one instead."""
        old = self.servers[number]
        old.end()
        assert old.process.returncode == 0
        self.servers[number] = Server(start(PORT=str(old.port), **SETTINGS))
        self._wait_until_used(self.servers[number])

    def _wait_until_used(self, server: Server) -> None:
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            _, counts = fetch(f"http://{server.netloc}/metrics")
            if b'endpoint="api.analyze",status="200"' in counts:
                return
        pytest.fail("nginx sent a restarted server nothing.")

    def end(self) -> None:
        for server in self.servers:
            server.process.terminate()
        for server in self.servers:
            server.end()


class Visitors:
    """Send photos one after another, and live frames that go on where a socket was closed."""

    def __init__(self, front: Front, photo: bytes) -> None:
        self.statuses: Counter[int] = Counter()
        self.goodbyes: Counter[tuple[int, str]] = Counter()
        self.frames = 0
        self._front = front
        self._photo = write_form(photo)
        self._enough = threading.Event()
        self._answered = threading.Condition()

    @contextmanager
    def coming(self, photos: int, sockets: int) -> Iterator[None]:
        with ThreadPoolExecutor(photos + sockets) as pool:
            visits = [pool.submit(self._send_photos) for _ in range(photos)]
            visits += [pool.submit(self._send_frames) for _ in range(sockets)]
            try:
                yield
            finally:
                self._enough.set()
            for visit in visits:
                visit.result()

    def wait_for_more(self, photos: int, frames: int) -> None:
        """Wait until so many more were answered."""
        with self._answered:
            least = self.statuses.total() + photos, self.frames + frames
            assert self._answered.wait_for(
                lambda: self.statuses.total() >= least[0] and self.frames >= least[1], PATIENCE
            )

    def _send_photos(self) -> None:
        while not self._enough.wait(PACE_SECONDS):
            status, _ = self._front.ask("POST", "/api/v1/analyze", *self._photo)
            with self._answered:
                self.statuses[status] += 1
                self._answered.notify_all()

    def _send_frames(self) -> None:
        """Connect, and again at once where the server takes its leave, as the page does.

        On a busy machine a handshake may still come to a server that is just leaving.
        """
        netloc = self._front.netloc
        while not self._enough.is_set():
            with (
                suppress(InvalidHandshake),
                open_socket(
                    f"wss://{netloc}/api/v1/stream",
                    ssl=self._front.trust,
                    origin=Origin(f"https://{netloc}"),
                    open_timeout=PATIENCE,
                ) as live,
            ):
                try:
                    self._send_over(live)
                except ConnectionClosed as closed:
                    goodbye = closed.rcvd or Close(1006, "lost")
                    self.goodbyes[goodbye.code, goodbye.reason] += 1

    def _send_over(self, live: ClientConnection) -> None:
        while not self._enough.wait(PACE_SECONDS):
            assert ask(live, FRAME)["faces"]
            with self._answered:
                self.frames += 1
                self._answered.notify_all()


def test_servers_are_restarted_one_after_another_and_no_visitor_fails(tmp_path: Path) -> None:
    front = Front(tmp_path)  # first, as it may skip
    crowd = Crowd()
    visitors = Visitors(front, ASTRONAUT_PNG)
    try:
        with front.running(UPSTREAM.name, crowd.addresses), visitors.coming(photos=3, sockets=2):
            for number in range(len(NAMES)):
                visitors.wait_for_more(photos=10, frames=10)
                crowd.restart(number)
            visitors.wait_for_more(photos=20, frames=20)
    finally:
        crowd.end()
    assert set(visitors.statuses) == {200}
    # Each socket was on one of the two, and some or all moved twice.
    assert set(visitors.goodbyes) == {(1001, "server_stops")}
    assert visitors.goodbyes.total() >= 2


def test_each_server_that_nginx_knows_is_one_of_the_crowd() -> None:
    crowd = yaml.safe_load((ROOT / "compose.crowd.yaml").read_text())["services"]
    addresses = {name: crowd[name]["networks"]["inside"]["ipv4_address"] for name in NAMES}
    assert len(set(addresses.values())) == len(NAMES) >= 2
    for name in NAMES:
        settings = crowd[name]["environment"]
        assert settings["RAUT_RATE_LIMIT_STORAGE"].startswith("redis://redis:")
        # nginx lets go of unused connections sooner than a server ends.
        kept = re.search(r"keepalive_timeout (\d+)s;", UPSTREAM.read_text())
        assert kept
        assert float(settings["RAUT_DRAIN_SECONDS"]) > float(kept[1])
        grace = float(crowd[name]["stop_grace_period"].removesuffix("s"))
        assert grace > GRACE_SECONDS + float(settings["RAUT_DRAIN_SECONDS"])
