"""Measure how fast the film page reads a film, as a multiple of real time.

    python -m tests.browser.measure_film

A film of one moving face, 640 by 480 at 25 frames a second, is read at 5 frames a second by
Chromium from a server on this machine. CPU seconds of both tell what an idle machine would do.
"""

import tempfile
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

from playwright.sync_api import sync_playwright
from skimage import data

from bench.moving import move_picture
from tests.helpers.servers import started

from .conftest import CHROMIUM
from .helpers import write_film

SECONDS = 60
RATE = 25


def read(address: str, film: Path) -> float:
    """Return the seconds that the page takes to read a film."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM if CHROMIUM.exists() else None,
            args=["--no-sandbox", "--disable-gpu"],
        )
        page = browser.new_page()
        page.goto(f"{address}/video")
        page.set_input_files("#file", film)
        page.wait_for_selector("[data-reading=ready]")
        began = time.perf_counter()
        page.click("#start")
        page.wait_for_selector("[data-reading=done]", timeout=600_000)
        seconds = time.perf_counter() - began
        browser.close()
    return seconds


def main() -> None:
    """Print a line for each kind of film."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("webm", "mp4"):
            film = Path(folder) / f"film.{kind}"
            write_film(film, move_picture(data.astronaut(), SECONDS * RATE, rate=RATE), RATE)
            before = getrusage(RUSAGE_CHILDREN)
            with started() as server:
                seconds = read(f"http://{server.netloc}", film)
            after = getrusage(RUSAGE_CHILDREN)
            spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"{kind}: {SECONDS / seconds:.1f} times real time, "
                f"{spent / SECONDS:.2f} CPU seconds a second of film"
            )


if __name__ == "__main__":
    main()
