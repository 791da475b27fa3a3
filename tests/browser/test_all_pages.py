"""What holds for every page, in every language, colour and width."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

FIRST_VISIT_LIMIT = 400_000
ADDRESSES = [
    "/",
    "/realtime",
    "/steps",
    "/models",
    "/models/expression",
    "/models/gender",
    "/models/clothing",
    "/models/studies/clothing-grid",
    "/about",
]
EVERY_PAGE = pytest.mark.parametrize("address", ADDRESSES)
LANGUAGES = pytest.mark.parametrize(
    "language",
    [
        pytest.param(code, marks=pytest.mark.browser_context_args(locale=code))
        for code in ("en", "id")
    ],
)


def open_all(page: Page) -> None:
    """Open every fold, so that what it hides is looked at too."""
    page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")


@EVERY_PAGE
def test_a_page_asks_no_other_host(live_server: str, page: Page, address: str) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(live_server + address)
    page.wait_for_load_state("networkidle")
    assert hosts - {""} == {urlsplit(live_server).netloc}


@EVERY_PAGE
def test_a_first_visit_stays_light(live_server: str, page: Page, address: str) -> None:
    weights: list[int] = []
    page.on("response", lambda response: weights.append(len(response.body())))
    page.goto(live_server + address)
    page.wait_for_load_state("networkidle")
    assert sum(weights) < FIRST_VISIT_LIMIT


@EVERY_PAGE
def test_no_page_breaks_the_security_policy(live_server: str, page: Page, address: str) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(live_server + address)
    open_all(page)
    assert said == []


@EVERY_PAGE
@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.browser_context_args(reduced_motion="reduce")
def test_axe_finds_nothing_on_any_page(
    live_server: str, page: Page, address: str, colours: Any
) -> None:
    page.emulate_media(color_scheme=colours)
    page.goto(live_server + address)
    open_all(page)
    result = Axe().run(page)
    assert result.violations_count == 0, result.generate_report()


@EVERY_PAGE
@LANGUAGES
def test_no_width_scrolls_sideways(
    live_server: str, page: Page, address: str, language: str
) -> None:
    page.goto(live_server + address)
    open_all(page)
    for width in (320, 390, 768, 1024, 1280, 1920, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, width


@EVERY_PAGE
@pytest.mark.browser_context_args(java_script_enabled=False)
def test_a_page_says_what_it_is_without_script(live_server: str, page: Page, address: str) -> None:
    page.goto(live_server + address)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).not_to_have_count(0)


@EVERY_PAGE
def test_a_page_has_a_social_card_of_its_own_host(
    live_server: str, page: Page, address: str
) -> None:
    page.goto(live_server + address)
    card = page.locator("meta[property='og:image']").get_attribute("content") or ""
    assert card.startswith(live_server)
    assert page.request.get(card).headers["content-type"] == "image/png"


@EVERY_PAGE
def test_a_printed_page_leaves_the_navigation_out(
    live_server: str, page: Page, address: str
) -> None:
    page.goto(live_server + address)
    page.emulate_media(media="print")
    expect(page.locator(".site-nav")).to_be_hidden()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
