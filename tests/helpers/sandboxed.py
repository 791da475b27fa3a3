"""A process in the sandbox that tries what it may and what it may not.

`python -m tests.helpers.sandboxed READABLE WRITABLE OTHER [PORT]`, with three folders, prints a
JSON object: what is in force, and of each attempt, at what is allowed and what is refused, the name
of what it raised, or "done".
"""

import asyncio
import ctypes
import json
import mmap
import os
import platform
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from app.web.server.sandbox import enter, seccomp
from app.web.server.sandbox.libc import system_call

MODEL = Path("models/expression/model.onnx")
COLUMN = seccomp.MACHINES[platform.machine()][1]


def attempt(action: Callable[[], Any]) -> str:
    try:
        action()
    except Exception as error:
        return type(error).__name__
    return "done"


def call(numbers: seccomp.Numbers, *arguments: Any) -> int:
    number = numbers[COLUMN]
    assert number is not None
    return system_call(number, *arguments)


def execute_in_memory() -> None:
    """Execute a file that has no path: execveat(2) of a memfd."""
    descriptor = os.memfd_create("program")
    os.write(descriptor, Path(sys.executable).read_bytes())
    os.execve(descriptor, ["python", "-c", ""], {})


def send(kind: int, port: int, flags: int = 0) -> None:
    with socket.socket(socket.AF_INET, kind) as opened:
        opened.sendto(b"photo", flags, ("127.0.0.1", port))


def reconnect(taken: socket.socket, port: int) -> None:
    """Take a client's connection apart, by the address family AF_UNSPEC, and reuse its socket."""
    call(seccomp.CONNECT, taken.fileno(), bytes(16), 16)
    taken.connect(("127.0.0.1", port))


def fork_by_call() -> None:
    if call(seccomp.CLONE, signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


def answer_by_asyncio(listener: socket.socket, client: socket.socket) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(4))
        await writer.drain()
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(answer, sock=listener):
            await asyncio.to_thread(client.sendall, b"ping")
            assert await asyncio.to_thread(client.recv, 4) == b"ping"

    asyncio.run(run())


def count(folder: Path) -> None:
    database = sqlite3.connect(folder / "counts.sqlite")
    with database:
        database.execute("CREATE TABLE counts (key TEXT)")
        database.execute("INSERT INTO counts VALUES ('one')")


def map_file(folder: Path) -> None:
    with (folder / "counter.db").open("w+b") as file:
        file.truncate(4096)
        mmap.mmap(file.fileno(), 4096)[:4] = b"1234"


def show_life(folder: Path) -> None:
    with (folder / "alive").open("wb") as file:
        os.utime(file.fileno())


def infer() -> None:
    session = onnxruntime.InferenceSession(MODEL)
    (tensor,) = session.get_inputs()
    session.run(None, {tensor.name: np.zeros((1, *tensor.shape[1:]), np.uint8)})


def main() -> None:
    readable, writable, other = map(Path, sys.argv[1:4])
    ports = [int(port) for port in sys.argv[4:]]
    (readable / "file").write_text("content")
    (other / "file").write_text("secret")
    listener = socket.create_server(("127.0.0.1", 0))
    elsewhere = socket.create_server(("127.0.0.1", 0))
    port = elsewhere.getsockname()[1]
    client = socket.create_connection(listener.getsockname())
    spare = socket.create_connection(elsewhere.getsockname())
    wake = threading.Event()
    outcomes: list[str] = []

    def try_later() -> None:
        wake.wait()
        outcomes.append(attempt(lambda: os.fork() or os._exit(0)))

    earlier = threading.Thread(target=try_later)
    earlier.start()
    libraries = [Path(each) for each in (*sys.path, sys.base_prefix, "/usr/lib", "/lib") if each]
    described = enter([readable, MODEL.parent, *libraries], [writable], ports, unix_sockets=False)
    wake.set()
    earlier.join()
    parent = os.getppid()
    allowed: dict[str, Callable[[], Any]] = {
        "read": lambda: (readable / "file").read_text(),
        "write where it may": lambda: (writable / "file").write_text("count"),
        "remove where it may": lambda: (writable / "file").unlink(),
        "map a file": lambda: map_file(writable),
        "show that it lives": lambda: show_life(writable),
        "count": lambda: count(writable),
        "start a thread": lambda: threading.Thread(target=int).start(),
        "answer": lambda: answer_by_asyncio(listener, client),
        "infer": infer,
        "signal itself": lambda: os.kill(os.getpid(), 0),
        "import": lambda: __import__("wave"),
    }
    refused: dict[str, Callable[[], Any]] = {
        "read elsewhere": lambda: (other / "file").read_text(),
        "list elsewhere": lambda: list(other.iterdir()),
        "write what it may read": lambda: (readable / "file").write_text("changed"),
        "append to what it may read": lambda: (readable / "file").open("a"),
        "create": lambda: (readable / "new").write_text("photo"),
        "write in /tmp": lambda: Path("/tmp/raut-sandbox-test").write_text("photo"),
        "create a folder": lambda: (writable / "folder").mkdir(),
        "link": lambda: (writable / "link").symlink_to(other),
        "truncate": lambda: os.truncate(readable / "file", 0),
        "remove": lambda: (readable / "file").unlink(),
        "rename": lambda: (writable / "alive").rename(readable / "alive"),
        "change the mode": lambda: (readable / "file").chmod(0o777),
        "change times": lambda: os.utime(readable / "file"),
        "set an attribute": lambda: os.setxattr(readable / "file", "user.photo", b"photo"),
        "connect by TCP": lambda: socket.create_connection(("127.0.0.1", port), 5),
        "connect by IPv6": lambda: socket.create_connection(("::1", port), 5),
        "connect by fast open": lambda: send(socket.SOCK_STREAM, port, seccomp.MSG_FASTOPEN),
        "send by UDP": lambda: send(socket.SOCK_DGRAM, 53),
        "open a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "open a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "connect by MPTCP": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262),
        "connect in the file system": lambda: socket.socket(socket.AF_UNIX),
        "reuse a connection": lambda: reconnect(spare, port),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)),
        "run a program": lambda: subprocess.run(["/bin/true"]),
        "spawn a program": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "become a program": lambda: os.execv("/bin/true", ["true"]),
        "become a program in memory": execute_in_memory,
        "fork": lambda: os.fork() or os._exit(0),
        "fork by the call": fork_by_call,
        "signal its parent": lambda: os.kill(parent, 0),
        "signal everybody": lambda: os.kill(-1, 0),
        "trace its parent": lambda: call(seccomp.REFUSED["ptrace"], 16, parent, 0, 0),
        "open its parent's memory": lambda: Path(f"/proc/{parent}/mem").read_bytes(),
        "open an io_uring": lambda: call(
            seccomp.REFUSED["io_uring_setup"], 1, ctypes.create_string_buffer(120)
        ),
        "leave its namespace": lambda: call(seccomp.REFUSED["unshare"], 0x10000000),
    }
    for connected in ports:
        allowed["connect"] = partial(socket.create_connection, ("127.0.0.1", connected), 5)
    told = [{name: attempt(each) for name, each in group.items()} for group in (allowed, refused)]
    told[1]["fork from an earlier thread"] = outcomes[0]
    print(json.dumps({"in force": described, "allowed": told[0], "refused": told[1]}))


if __name__ == "__main__":
    main()
