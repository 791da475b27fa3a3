"""Photos, fixed answers for tests of the page alone, and what tests of several pages share."""

import csv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Download, FilePayload, Page, Route
from skimage import data

from bench import film

SERVICE = "**/api/v1/analyze"
INDONESIAN = pytest.mark.browser_context_args(locale="id-ID")
WITHOUT_SCRIPT = pytest.mark.browser_context_args(java_script_enabled=False)
NO_PHOTO: FilePayload = {"name": "words.png", "mimeType": "image/png", "buffer": b"no picture"}
CODECS = {"webm": "libvpx", "mp4": "libx264"}
ALL_EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def picture_file(picture: Any, name: str, **saving: Any) -> FilePayload:
    kind = "PNG" if name.endswith("png") else "JPEG"
    stream = BytesIO()
    Image.fromarray(picture).save(stream, kind, **saving)
    return {"name": name, "mimeType": f"image/{kind.lower()}", "buffer": stream.getvalue()}


ASTRONAUT = picture_file(data.astronaut(), "astronaut.png")
ROCKET = picture_file(data.rocket(), "rocket.jpg")


def write_film(path: Path, frames: Iterable[np.ndarray], rate: int) -> Path:
    return film.write_film(path, frames, rate, codec=CODECS[path.suffix[1:]])


def reading(label: str, probability: float, classes: tuple[str, ...], confident: bool) -> Any:
    rest = (1 - probability) / (len(classes) - 1)
    return {
        "label": label,
        "probability": probability,
        "confident": confident,
        "threshold": 0.69,
        "probabilities": {name: probability if name == label else rest for name in classes},
    }


def face(x: float, y: float, label: str = "happy", confident: bool = True, **more: Any) -> Any:
    return {
        "box": {"x": x, "y": y, "width": 100.0, "height": 100.0},
        "score": 0.98,
        "roll_degrees": 0.0,
        "expression": reading(label, 0.93 if confident else 0.4, ALL_EXPRESSIONS, confident),
        "gender": reading("female", 0.88, ("female", "male"), True),
        **more,
    }


def answer(*faces: Any, width: int = 512, height: int = 512) -> Any:
    return {
        "image": {"width": width, "height": height, "complete": True},
        "faces": list(faces),
        "timings_ms": {"decode": 3.2, "detect": 20.1, "classify": 11.9, "total": 35.4},
        "models": {"expression": "0123456789ab", "gender": "ba9876543210"},
    }


TWO_FACES = answer(face(170, 70), face(20, 300, "sad", confident=False, roll_degrees=20.0))


def answer_with(page: Page, body: Any, status: int = 200) -> None:
    """Answer every photo with this body, so that the test is about the page."""
    kind = "application/json" if status == 200 else "application/problem+json"

    def fulfil(route: Route) -> None:
        route.fulfill(json=body, status=status, content_type=kind)

    page.route(SERVICE, fulfil)


def choose(page: Page, *photos: FilePayload) -> None:
    page.set_input_files("#image", photos)


def downloaded(page: Page, button: str) -> Download:
    with page.expect_download() as waiting:
        page.click(button)
    return waiting.value


def content(page: Page, button: str) -> bytes:
    """Click a button and return the file that it saves."""
    return Path(downloaded(page, button).path()).read_bytes()


def rows_of(table: bytes) -> list[dict[str, str]]:
    lines = table.decode("utf-8-sig").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("# ")))


def expect_accessible(page: Page, *rules: str) -> None:
    chosen = {"runOnly": rules} if rules else {}
    result = Axe().run(page, options={"resultTypes": ["violations"], **chosen})
    assert result.violations_count == 0, result.generate_report()


def expect_width(page: Page, *widths: int) -> None:
    """Fail where the page scrolls sideways."""
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width


def expect_usable(page: Page) -> None:
    """Fail where axe finds a fault in either theme, or a narrow phone scrolls sideways."""
    size = page.viewport_size
    assert size
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    expect_accessible(page)
    page.emulate_media(color_scheme="dark")
    expect_accessible(page, "color-contrast")
    expect_width(page, 320)
    page.set_viewport_size(size)
    page.emulate_media(color_scheme="null", reduced_motion="null")


@contextmanager
def without_errors(page: Page) -> Iterator[Page]:
    """Fail where the page throws an error."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert errors == []


def console_of(page: Page) -> list[str]:
    """Return the list to which the page's console messages are added."""
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    return said
