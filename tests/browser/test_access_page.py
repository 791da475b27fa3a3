from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from app import create_app
from app.settings import Settings
from app.web.server.auth import hash_token
from tests.helpers.servers import serving

from .helpers import ASTRONAUT, choose, expect_accessible


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    with serving(create_app(Settings(tokens={"lab": hash_token("right")}))) as address:
        yield address


def test_a_visitor_enters_a_token_and_gets_an_analysis(guarded: str, page: Page) -> None:
    page.goto(guarded)
    page.get_by_label("Token").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("doesn't know that token")
    expect_accessible(page)
    page.get_by_label("Token").fill("right")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    choose(page, ASTRONAUT)
    expect(page.get_by_role("heading", name="1 face found")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.goto(guarded)
    expect(page.get_by_label("Token")).to_be_visible()
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)


def test_an_unknown_address_links_to_the_photo_page(live_server: str, page: Page) -> None:
    page.goto(f"{live_server}/nowhere")
    expect(page.locator("main")).to_contain_text("There is nothing at this address.")
    expect_accessible(page)
    page.get_by_role("link", name="Read a photo").click()
    expect(page).to_have_url(f"{live_server}/")
