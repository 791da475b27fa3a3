from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.helpers.pages import PAGES

from .helpers import INDONESIAN, WITHOUT_SCRIPT, console_of, expect_usable, expect_width

FIRST_VISIT_LIMIT = 400_000
EVERY_PAGE = pytest.mark.parametrize("address", PAGES)
WIDTHS = (320, 390, 768, 1024, 1280, 1920, 2560)


def open_all(page: Page) -> None:
    """Open every details element, so that its content is checked too."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


@pytest.fixture(scope="module", params=PAGES)
def opened(request: pytest.FixtureRequest, live_server: str, shared_page: Page) -> Page:
    """One of the pages, loaded once for the tests that change nothing on it."""
    shared_page.goto(live_server + request.param)
    open_all(shared_page)
    return shared_page


@EVERY_PAGE
@INDONESIAN
def test_a_first_visit_is_small_follows_the_content_security_policy_and_fits_indonesian(
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
    expect_width(page, *WIDTHS)


def test_every_page_is_accessible_in_both_themes_and_fits_every_width(opened: Page) -> None:
    expect_usable(opened)
    expect_width(opened, *WIDTHS)


@EVERY_PAGE
@WITHOUT_SCRIPT
def test_a_page_says_what_it_is_without_script(live_server: str, page: Page, address: str) -> None:
    page.goto(live_server + address)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).not_to_have_count(0)


def test_a_page_has_a_social_card_of_its_own_host(live_server: str, opened: Page) -> None:
    card = opened.locator("meta[property='og:image']").get_attribute("content") or ""
    assert card.startswith(live_server)
    assert opened.request.get(card).headers["content-type"] == "image/png"


def test_a_printed_page_leaves_the_navigation_out(opened: Page) -> None:
    opened.emulate_media(media="print")
    expect(opened.locator(".site-nav")).to_be_hidden()
    expect(opened.get_by_role("heading", level=1)).to_be_visible()
    opened.emulate_media(media="null")


def test_a_phone_has_the_pages_in_a_menu(live_server: str, page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(live_server)
    link = page.get_by_role("navigation", name="Pages").get_by_role("link", name="Models")
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    link.click()
    expect(page).to_have_url(f"{live_server}/models")
