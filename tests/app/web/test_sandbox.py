import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from app.web.server import sandbox
from app.web.server.sandbox import SandboxError, confine_worker, landlock, seccomp
from bench.serving import write_form
from tests.helpers.forms import ASTRONAUT_PNG
from tests.helpers.processes import PROC, list_children
from tests.helpers.servers import started

pytestmark = pytest.mark.skipif(
    not sandbox.IS_LINUX or landlock.find_abi() < landlock.NETWORK_ABI or not seccomp.can_filter(),
    reason="Landlock ABI 4 (Linux 6.7) on x86_64 or aarch64 is needed.",
)

# A worker as gunicorn.conf.py makes one, which then answers everything.
APPLICATION = """
import io, pathlib, sys
from app.settings import Settings
from app.web.server.sandbox import confine_worker

counts = pathlib.Path(sys.argv[1])
settings = Settings(
    sandbox="require",
    rate_limit="90/minute",
    rate_limit_storage=f"shared://{counts}/limits.sqlite",
)
print(confine_worker(settings, counts))

from app import create_app

app = create_app(settings)
client = app.test_client()
for rule in app.url_map.iter_rules():
    if "GET" in rule.methods and not rule.arguments and not rule.websocket:
        print(client.get(rule.rule).status_code, rule.rule)
for path in ["/", "/steps", "/steps/stages.zip", "/api/v1/analyze", "/api/v1/features"]:
    form = {"image": (io.BytesIO((counts / "photo").read_bytes()), "photo")}
    print(client.post(path, data=form).status_code, path)
"""


def run(*arguments: object, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.parametrize("with_port", [False, True])
def test_only_what_serving_needs_can_be_done(tmp_path: Path, with_port: bool) -> None:
    folders = [tmp_path / name for name in ("readable", "writable", "other")]
    for folder in folders:
        folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as redis:
        ports = [redis.getsockname()[1]] if with_port else []
        told = json.loads(run("-m", "tests.helpers.sandboxed", *folders, *ports))
    assert set(told["allowed"].values()) == {"done"}, told
    assert set(told["refused"].values()) == {"PermissionError"}, told
    assert ("connect" in told["allowed"]) == with_port
    # Threads that numpy had started were no more Landlock's, but they are seccomp's.
    assert told["in force"].startswith(f"Landlock ABI {landlock.find_abi()}")
    assert told["in force"].endswith(" and seccomp")


def test_the_application_loads_and_answers_in_the_sandbox(tmp_path: Path) -> None:
    (tmp_path / "photo").write_bytes(ASTRONAUT_PNG)
    in_force, *answers = run("-c", APPLICATION, tmp_path).splitlines()
    assert in_force == f"Landlock ABI {landlock.find_abi()} and seccomp"
    assert len(answers) > 14
    assert {answer.split()[0] for answer in answers} <= {"200", "302"}, answers


def test_the_workers_of_a_server_are_in_it_and_those_after_a_reload(tmp_path: Path) -> None:
    in_force = f'Sandbox: Landlock ABI {landlock.find_abi()} and seccomp"'
    (tmp_path / "sample.png").write_bytes(ASTRONAUT_PNG)
    with started(RAUT_SANDBOX="require", RAUT_SAMPLES=str(tmp_path)) as server:
        for _ in range(2):
            server.wait_for(in_force)
            server.wait_for("ASGI server listening")
            assert server.ask("/api/v1/analyze", *write_form(ASTRONAUT_PNG)) == (200, "")
            assert server.ask("/samples/0")[0] == 200
            for worker in list_children(server.process.pid):
                status = (PROC / str(worker.pid) / "status").read_text()
                assert {"NoNewPrivs:\t1", "Seccomp:\t2"} <= set(status.splitlines())
            server.process.send_signal(signal.SIGHUP)


def test_a_crash_leaves_no_core_and_nobody_reads_the_memory() -> None:
    get_dumpable = "ctypes.CDLL(None).prctl(3)"
    code = (
        "import ctypes, resource; from app.web.server.sandbox import harden_process;"
        f"harden_process(); print({get_dumpable}, resource.getrlimit(resource.RLIMIT_CORE))"
    )
    assert run("-c", code) == "0 (0, 0)\n"


def test_a_kernel_without_either_is_told_of_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "find_abi", lambda: 0)
    monkeypatch.setattr(seccomp, "can_filter", lambda: False)
    told = "nothing: this kernel has neither Landlock nor seccomp"
    assert confine_worker(Settings(), None) == told
    with pytest.raises(SandboxError, match=told):
        confine_worker(Settings(sandbox="require"), None)


def test_it_can_be_turned_off_and_is_off_for_keras() -> None:
    assert confine_worker(Settings(sandbox="off"), None) == "nothing: RAUT_SANDBOX is off"
    told = "nothing: Keras needs temporary files"
    assert confine_worker(Settings(runtime="keras"), None) == told
    with pytest.raises(SandboxError, match="Keras"):
        confine_worker(Settings(runtime="keras", sandbox="require"), None)


@pytest.mark.parametrize(
    ("settings", "ports", "unix_sockets"),
    [
        ({}, set(), False),
        ({"rate_limit_storage": "redis://127.0.0.1/0"}, {6379}, False),
        ({"rate_limit_storage": "redis://redis:7000/0"}, {7000, 53}, False),
        ({"rate_limit_storage": "redis://redis:7000/0", "rate_limit": ""}, set(), False),
        ({"rate_limit_storage": "redis+unix:///run/redis.sock"}, set(), True),
        ({"runtime": "remote", "inference_url": "http://localhost:8080"}, {8080}, False),
        ({"runtime": "remote", "inference_url": "https://inference"}, {443, 53}, False),
        (
            {
                "runtime": "remote",
                "inference_url": "http://10.0.0.1:8080",
                "rate_limit_storage": "rediss://10.0.0.1/0",
            },
            {8080, 6379},
            False,
        ),
    ],
)
def test_the_settings_name_the_only_ports(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], ports: set[int], unix_sockets: bool
) -> None:
    entered: list[tuple[Any, ...]] = []

    def enter(*given: Any, **_: Any) -> str:
        entered.append(given)
        return ""

    monkeypatch.setattr(sandbox, "enter", enter)
    monkeypatch.setenv("RES_OPTIONS", "use-vc")
    confine_worker(Settings(**{"rate_limit": "9/minute", **settings}), None)
    assert entered[0][2:] == (ports, unix_sockets)
