"""Measure how fast and how steadily the pages come up in Chromium, as a Markdown table.

    python -m tests.browser.measure_pages

Each page is opened several times in a fresh browser context, from a server on this machine, and
the medians are printed: first contentful paint, layout shift over the whole visit, bytes over the
wire of a first visit. The last line is the time to answer a photo of 12 megapixels on the steps
page.
"""

import io
import time
from statistics import median

import skimage.data
from flask import Flask
from PIL import Image
from playwright.sync_api import Browser, Request, sync_playwright

from app import create_app
from app.settings import Settings
from tests.helpers.forms import post
from tests.helpers.servers import serving

from .conftest import CHROMIUM

ADDRESSES = ("/", "/steps", "/models", "/models/expression", "/about")
VISITS = 5
OBSERVE = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def visit(browser: Browser, address: str) -> tuple[float, float, int]:
    """Open a page once; return first paint in ms, layout shift and bytes."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    requests: list[Request] = []
    page.on("requestfinished", lambda request: requests.append(request))
    page.add_init_script(OBSERVE)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.wait_for_function(f"{FIRST_PAINT} > 0")
    sizes = [request.sizes() for request in requests]
    weight = sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)
    figures = page.evaluate(FIRST_PAINT), page.evaluate("window.shift"), weight
    context.close()
    return figures


def time_large_photo(app: Flask) -> float:
    """Return the median seconds that a photo of 12 megapixels takes through every step."""
    stream = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).resize((4000, 3000)).save(stream, "JPEG", quality=90)
    client, seconds = app.test_client(), []
    for _ in range(VISITS):
        started = time.perf_counter()
        assert post(client, "/steps", {"image": stream.getvalue()}).status_code == 200
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def main() -> None:
    """Print the table."""
    app = create_app(Settings())
    print("| page | first contentful paint | layout shift | first visit |")
    print("| --- | --- | --- | --- |")
    with serving(app) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for address in ADDRESSES:
            visits = [visit(browser, server + address) for _ in range(VISITS)]
            paint, shift, weight = (median(each) for each in zip(*visits, strict=True))
            print(f"| `{address}` | {paint:.0f} ms | {shift:.3f} | {weight / 1000:.0f} kB |")
        browser.close()
    print(f"\n12 megapixels through every step: {time_large_photo(app):.2f} s")


if __name__ == "__main__":
    main()
