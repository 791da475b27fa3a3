"""What holds for every page, in every language, colour and width."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from .helpers import WITHOUT_SCRIPT, console_of, expect_accessible, expect_width

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
    """Open every details element, so that its content is checked too."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


@EVERY_PAGE
def test_a_visit_is_light_and_keeps_to_this_host_and_the_security_policy(
    live_server: str, page: Page, address: str
) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(len(response.body())))
    said = console_of(page)
    page.goto(live_server + address)
    open_all(page)
    page.wait_for_load_state("networkidle")
    assert hosts - {""} == {urlsplit(live_server).netloc}
    assert sum(sizes) < FIRST_VISIT_LIMIT
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
    expect_accessible(page)


@EVERY_PAGE
@LANGUAGES
def test_no_width_scrolls_sideways(
    live_server: str, page: Page, address: str, language: str
) -> None:
    page.goto(live_server + address)
    open_all(page)
    for width in (320, 390, 768, 1024, 1280, 1920, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        expect_width(page, width)


@EVERY_PAGE
@WITHOUT_SCRIPT
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
