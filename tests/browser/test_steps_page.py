import re
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import FilePayload, Locator, Page, Route, expect
from skimage import data

from .helpers import (
    ASTRONAUT,
    INDONESIAN,
    NO_PHOTO,
    ROCKET,
    WITHOUT_SCRIPT,
    expect_accessible,
    expect_usable,
    picture_file,
)

SHOW = "Show the steps"


@pytest.fixture
def walk(live_server: str, page: Page) -> Page:
    """Open the page and take the ASTRONAUT through every step."""
    return take(page, live_server, ASTRONAUT)


@pytest.fixture(scope="module")
def walked_page(live_server: str, shared_page: Page) -> Page:
    return take(shared_page, live_server, ASTRONAUT)


@pytest.fixture
def walked(walked_page: Page) -> Iterator[Page]:
    """The page after every step, shared by the tests that send no other form."""
    yield walked_page
    walked_page.emulate_media(media="null", color_scheme="null", reduced_motion="null")
    walked_page.get_by_role("button", name="The model's own").click()


def take(page: Page, live_server: str, photo: FilePayload) -> Page:
    page.goto(f"{live_server}/steps")
    page.set_input_files("#image", [photo])
    expect(steps(page)).to_have_count(12, timeout=30_000)  # The first photo loads ONNX.
    return page


def steps(page: Page) -> Locator:
    return page.locator(".step")


def test_a_chosen_photo_passes_every_step_of_the_map(walked: Page) -> None:
    expect(walked.locator("#decision .verdict")).to_contain_text("happy")
    expect(walked.locator("#status")).to_have_text(
        "Every step is shown. The arrow keys go from one to the next."
    )
    expect(walked.locator("#status")).to_have_attribute("role", "status")
    walked.evaluate("scrollTo(0, 0)")
    marked = walked.locator(".steps-nav [aria-current=step]")
    expect(marked).to_have_text("Opened and turned upright")
    walked.locator(".steps-nav").get_by_role("link", name="Feature maps").click()
    expect(walked.locator("#maps")).to_be_in_viewport()


def test_one_convolution_is_shown_in_numbers(walked: Page) -> None:
    figure = walked.locator("#filters .convolution")
    figure.locator("input").fill("2")
    expect(figure.locator("label output")).to_have_text("Filter 2 of 48")
    figure.locator("canvas").nth(1).press("ArrowRight")
    products = map(float, figure.locator("table").nth(2).locator("td").all_inner_texts())
    written = figure.locator("p output").inner_text()
    total = float(re.findall(r"Sum (-?[\d.]+)", written)[0])
    assert sum(products) == pytest.approx(total, abs=0.06)


def test_a_face_is_chosen_by_a_click_on_the_photo(live_server: str, page: Page) -> None:
    pair = np.hstack([data.astronaut(), data.astronaut()[:, ::-1]])
    page.goto(f"{live_server}/steps")
    page.set_input_files("#image", [picture_file(pair, "pair.jpg")])
    chosen = page.locator("#proposals a[aria-current]")
    expect(chosen).to_have_attribute("data-face", "1", timeout=30_000)
    page.get_by_role("link", name="Explain face 2").click()
    expect(chosen).to_have_attribute("data-face", "2", timeout=30_000)
    expect(page.locator("#face")).to_have_value("2")


def test_one_wish_is_one_request(live_server: str, page: Page) -> None:
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.method))
    page.goto(f"{live_server}/steps")
    page.set_input_files("#image", [ASTRONAUT])
    page.get_by_role("button", name=SHOW).click()
    expect(steps(page)).to_have_count(12, timeout=30_000)
    expect(page.locator("#photo")).to_be_focused()
    assert sent.count("POST") == 1


def test_the_arrow_keys_go_from_step_to_step_but_stay_with_a_field_in_use(walked: Page) -> None:
    walked.get_by_role("button", name=SHOW).click()
    expect(walked.locator("#photo")).to_be_focused()
    walked.keyboard.press("ArrowRight")
    expect(walked.locator("#grey")).to_be_focused()
    assert walked.url.endswith("#grey")
    walked.keyboard.press("ArrowRight")
    walked.keyboard.press("ArrowLeft")
    expect(walked.locator("#grey")).to_be_focused()
    expect(walked.locator(".steps-nav [aria-current=step]")).to_have_text("Grey and small")
    slider = walked.locator("#softmax input")
    slider.focus()
    walked.keyboard.press("ArrowRight")
    expect(slider).to_be_focused()
    assert float(slider.input_value()) > 0


def test_a_higher_temperature_flattens_the_probabilities(walked: Page) -> None:
    best = walked.locator("#softmax tr[data-class=happy] data")
    own, written = float(best.get_attribute("value") or 0), best.inner_text()
    walked.locator("#softmax input").fill("3")
    flat = float(best.get_attribute("value") or 0)
    assert 1 / 7 < flat < own
    walked.get_by_role("button", name="The model's own").click()
    expect(best).to_have_text(written)
    assert float(best.get_attribute("value") or 0) == pytest.approx(own, abs=1e-4)


def test_a_channel_and_a_class_can_be_chosen(walked: Page) -> None:
    block = walked.locator(".block").first
    canvas = block.locator("canvas")
    block.locator("input").fill("1")
    expect(block.locator("output")).to_have_text(re.compile(r"Channel 1 of \d+"))
    first = canvas.evaluate("(canvas) => canvas.toDataURL()")
    block.locator("input").fill("2")
    assert canvas.evaluate("(canvas) => canvas.toDataURL()") != first
    shown = walked.locator("#where .class-body:visible img")
    expect(shown).to_have_attribute("alt", "Occlusion for happy")
    walked.locator("#where").get_by_text("sad", exact=True).click()
    expect(shown).to_have_attribute("alt", "Occlusion for sad")


def test_a_changed_detector_setting_takes_effect_at_once(walk: Page) -> None:
    walk.get_by_text("Face and search settings").click()
    side = walk.get_by_label("Side of the searched copy")
    for pixels in ("160", "320"):
        side.fill(pixels)
        side.blur()
        expect(walk.locator("#grey")).to_contain_text(f"{pixels} × {pixels} pixels")
    expect(steps(walk)).to_have_count(12)


def test_a_face_upside_down_is_found_by_a_thorough_search(live_server: str, page: Page) -> None:
    page.goto(f"{live_server}/steps")
    page.set_input_files("#image", [picture_file(data.astronaut()[::-1, ::-1], "turned.png")])
    expect(page.get_by_role("heading", name="No face found")).to_be_in_viewport()
    expect(page.locator("#status")).to_have_text("No face found")
    page.get_by_text("Face and search settings").click()
    page.get_by_label("Search effort").select_option("thorough")
    expect(page.locator("#decision .verdict")).to_contain_text("happy", timeout=30_000)


def test_steps_can_be_saved_another_model_explained_and_a_lost_server_is_told(walk: Page) -> None:
    with walk.expect_download() as waiting:
        walk.get_by_role("button", name="All steps as ZIP").click()
    names = zipfile.ZipFile(waiting.value.path()).namelist()
    assert "image/numbers.json" in names
    expect(steps(walk)).to_have_count(12)
    walk.get_by_label("Model to explain").select_option("gender")
    expect(walk.locator("#softmax tr[data-class=female]")).to_be_visible()
    walk.route("**/steps", lambda route: route.abort("connectionrefused"))
    walk.get_by_role("button", name=SHOW).click()
    expect(walk.locator("#status")).to_contain_text("The server could not be reached.")
    expect(walk.locator("#outcome")).not_to_have_attribute("aria-busy", "true")


def test_a_stale_answer_never_replaces_a_newer_one(walk: Page) -> None:
    held: list[Route] = []
    walk.route("**/steps", lambda route: route.continue_() if held else held.append(route))
    with walk.expect_request("**/steps"):
        walk.get_by_role("button", name=SHOW).click()
    with walk.expect_event("requestfailed"):
        walk.get_by_label("Model to explain").select_option("gender")
    expect(walk.locator("#softmax tr[data-class=female]")).to_be_visible()
    assert len(held) == 1


@WITHOUT_SCRIPT
def test_the_steps_are_shown_without_script(live_server: str, page: Page) -> None:
    page.goto(f"{live_server}/steps")
    page.set_input_files("#image", [ASTRONAUT])
    page.get_by_role("button", name=SHOW).click()
    expect(steps(page)).to_have_count(12)
    page.locator("#where").get_by_text("sad", exact=True).click()
    shown = page.locator("#where .class-body:visible img")
    expect(shown).to_have_attribute("alt", "Occlusion for sad")


def test_the_steps_are_accessible_fit_a_narrow_phone_and_are_printed(walked: Page) -> None:
    expect_usable(walked)
    walked.emulate_media(media="print")
    expect(walked.locator("#steps-form")).to_be_hidden()
    for step in steps(walked).all():
        expect(step).to_be_visible()


@INDONESIAN
def test_the_steps_are_in_indonesian(walk: Page) -> None:
    expect(walk.locator("#decision h2")).to_have_text("Keputusan")
    expect(walk.locator("#softmax tr[data-class=happy] .scaled")).to_contain_text(",")


def test_two_photos_side_by_side_and_an_error_are_accessible(walk: Page) -> None:
    walk.set_input_files("#second", [ROCKET])
    expect(walk.locator("#photo .step-photo")).to_have_count(2, timeout=30_000)
    expect(walk.locator("#crop .step-photo").nth(1)).to_contain_text("did not reach this step")
    expect(walk.get_by_role("heading", name="No face found: rocket.jpg")).to_be_visible()
    expect_accessible(walk)
    walk.set_input_files("#image", [NO_PHOTO])
    sentence = "Save the photo as JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP, or TIFF"
    expect(walk.locator(".problem")).to_contain_text(sentence, timeout=30_000)
    expect(steps(walk)).to_have_count(0)
    expect_accessible(walk)


def test_the_photo_page_requests_the_chosen_label_set(live_server: str, page: Page) -> None:
    page.goto(f"{live_server}/models")
    page.get_by_role("radio", name="expression · ferplus").check()
    page.get_by_role("button", name="Save this choice").click()
    page.goto(live_server)
    with page.expect_response("**/api/v1/analyze") as waiting:
        page.set_input_files("#image", [ASTRONAUT])
    asked: dict[str, Any] = {"image": ASTRONAUT, "label_set": "ferplus"}
    chosen = page.request.post(f"{live_server}/api/v1/analyze", multipart=asked)
    assert waiting.value.json()["faces"] == chosen.json()["faces"]
