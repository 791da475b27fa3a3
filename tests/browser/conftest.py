"""A real Chromium with a camera, and photos to give it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from skimage import data

from bench.moving import encode_frame, move_picture

from .helpers import without_errors

# Debian's; where neither is, Playwright's own. Without windows a page takes a third of the time.
PROGRAMS = map(Path, ("/usr/bin/chromium-headless-shell", "/usr/bin/chromium"))
CHROMIUM = next(filter(Path.exists, PROGRAMS), None)


def pytest_itemcollected(item: pytest.Item) -> None:
    # pytest-playwright 0.10 itself declares a fixture in the way that pytest 9.2 warns of.
    item.add_marker(
        pytest.mark.filterwarnings("ignore:Session-scoped fixtures defined as instance methods")
    )
    # Werkzeug's server, which serves the tests only, leaves a static file to the garbage
    # collector where the browser leaves a page before the file has come.
    item.add_marker(pytest.mark.filterwarnings(r"ignore:unclosed file .*static:ResourceWarning"))


@pytest.fixture(scope="session")
def moving_face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of a real face that moves, as Chromium's camera plays it."""
    film = tmp_path_factory.mktemp("camera") / "face.mjpeg"
    frames = move_picture(data.astronaut(), 60)
    film.write_bytes(b"".join(encode_frame(frame) for frame in frames))
    return film


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any], moving_face: Path
) -> dict[str, Any]:
    own = {"executable_path": str(CHROMIUM)} if CHROMIUM else {}
    return {
        **browser_type_launch_args,
        **own,
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            # Every window would load the address bar's two pages, which take more time than ours.
            "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,PaintHolding",
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={moving_face}",
        ],
    }


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, "locale": "en-GB"}


@pytest.fixture
def page(page: Page) -> Iterator[Page]:
    with without_errors(page):
        yield page


@pytest.fixture(scope="module")
def shared_page(browser: Browser, browser_context_args: dict[str, Any]) -> Iterator[Page]:
    """One page for the tests of a module that leave it as they found it."""
    context = browser.new_context(**browser_context_args)
    with without_errors(context.new_page()) as page:
        yield page
    context.close()


@pytest.fixture
def start(live_server: str, page: Page) -> Page:
    page.goto(live_server)
    return page
