import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from websockets.sync.client import connect as open_socket

from bench.moving import encode_frame
from bench.serving import write_form
from tests.helpers.servers import ask, fetch, started

STRACE = shutil.which("strace") or ""
SENDING = ["write", "writev", "sendto", "sendmsg"]
TRACED = (
    "write,writev,sendto,sendmsg,sendmmsg,connect,open,openat,openat2,creat,mkdir,mkdirat,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,truncate,ftruncate,fallocate,"
    "pwrite64,pwritev,pwritev2,sendfile,splice,copy_file_range,memfd_create"
)
CALL = re.compile(r"\d+ +(\w+)\((.*)")
WRITING = re.compile(r"O_(WRONLY|RDWR|CREAT|TMPFILE|TRUNC)")
MEMORY = re.compile(r'[<"]/dev/shm/(raut|wgunicorn)-')
TO_NO_FILE = re.compile(r"\d+<(socket|pipe|anon_inode):")
TO_NOBODY = re.compile(r'\d+, ""\.\.\., 1\) += -1 EBADF ')


def send(netloc: str, photo: bytes) -> dict[str, object]:
    """Have a photo read, however long it takes until there is room."""
    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    while status == HTTPStatus.SERVICE_UNAVAILABLE:
        status, answer = fetch(f"http://{netloc}/api/v1/analyze", *write_form(photo))
    assert status == HTTPStatus.OK
    read: dict[str, object] = json.loads(answer)
    return read


def encode(picture: np.ndarray) -> bytes:
    return encode_frame(np.ascontiguousarray(picture))


@pytest.fixture(scope="module")
def photos() -> list[bytes]:
    """Photos of two users: their faces lie elsewhere and are read otherwise."""
    small = skimage.data.astronaut()[:256:2, 96:352:2]
    return [encode(small), encode(255 - (255 - small[:, ::-1]) // 2)]


def test_two_users_never_see_each_others_answers(photos: list[bytes], fuzz_count: int) -> None:
    with started(WEB_CONCURRENCY="2") as server:
        own = [send(server.netloc, photo)["faces"] for photo in photos]
        assert own[0]
        assert own[1]
        assert own[0] != own[1]
        with ThreadPoolExecutor(8) as users:
            answers = users.map(
                lambda number: (number % 2, send(server.netloc, photos[number % 2])["faces"]),
                range(fuzz_count),
            )
            assert sum(faces == own[user] for user, faces in answers) == fuzz_count


def is_harmless(call: str, rest: str) -> bool:
    """Tell whether a call leaves no photo anywhere.

    In memory are numbers only: the counts of /metrics and of rate limits, and the file by which
    gunicorn sees that a worker lives.
    """
    if MEMORY.search(rest):
        return True
    if call.startswith("open"):
        return not WRITING.search(rest)
    # A thread that is done wakes its worker by one byte, which may have closed that pipe to end.
    if call == "write" and TO_NOBODY.match(rest):
        return True
    # An answer goes over a connection that its client opened, and names no address.
    return call in SENDING and bool(TO_NO_FILE.match(rest)) and "AF_" not in rest


@pytest.mark.skipif(not STRACE, reason="strace is needed: install the package strace.")
def test_nothing_is_written_to_a_file_and_no_connection_opened(
    photos: list[bytes], tmp_path: Path, fuzz_count: int
) -> None:
    uploads = fuzz_count // 5
    trace = tmp_path / "trace"
    # Apart from its parent, so that the signal to end reaches the server itself.
    tracer = [STRACE, "-D", "-f", "-y", "-qq", "-s", "0", "-e", f"trace={TRACED}"]
    limit = f"{2 * uploads}/minute"
    with (
        started(
            [*tracer, "-o", trace], RAUT_RATE_LIMIT=limit, PYTHONDONTWRITEBYTECODE="1"
        ) as server,
        open_socket(server.stream) as live,
    ):
        for number in range(uploads):
            assert send(server.netloc, photos[number % 2])["faces"]
            assert ask(live, photos[0])["faces"]
        live.close()
    calls = [found for found in map(CALL.match, trace.read_text().splitlines()) if found]
    assert sum(found[1] in SENDING for found in calls) > 2 * uploads
    assert [found[0] for found in calls if not is_harmless(found[1], found[2])] == []
