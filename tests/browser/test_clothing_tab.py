import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import FilePayload, Page, expect

from app import create_app
from app.settings import Settings
from app.vision.detection.detector import DETECTOR_FOLDERS
from tests.helpers.cards import rewrite_card
from tests.helpers.clothing import write_all_models, write_clothing
from tests.helpers.servers import serving

from .helpers import content, downloaded, expect_accessible, picture_file, rows_of

DRESS, UNSURE, NONE = (255, 0, 0), (214, 40, 40), (20, 20, 20)


@pytest.fixture(scope="module")
def clothing_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of the faces' models and one of clothes; its address."""
    folder = tmp_path_factory.mktemp("clothing")
    write_all_models(folder)
    with serving(create_app(Settings(models=folder))) as address:
        yield address


def garment(colour: tuple[int, int, int]) -> FilePayload:
    return picture_file(np.full((96, 64, 3), colour, np.uint8), "garment.png")


def read(page: Page, address: str, colour: tuple[int, int, int]) -> None:
    page.goto(f"{address}/?models=clothing")
    page.set_input_files("#image", [garment(colour)])
    expect(page.locator("#downloads")).to_be_visible()


def test_tabs_work_by_keys_and_survive_another_language(clothing_server: str, page: Page) -> None:
    page.goto(clothing_server)
    tabs = page.get_by_role("navigation", name="What is read")
    expect(tabs.get_by_role("link", name="Faces")).to_have_attribute("aria-current", "page")
    tabs.get_by_role("link", name="Faces").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Which clothes does this picture show?"
    )
    expect(page.locator(".kinds li")).to_have_count(10)
    page.get_by_role("button", name="ID: Bahasa Indonesia").click()
    expect(page.locator(".tabs [aria-current]")).to_have_text("Pakaian")
    expect(page.locator(".kinds")).to_contain_text("celana panjang")


def test_without_a_model_of_clothes_there_is_no_tab(page: Page, tmp_path: Path) -> None:
    for name in ("expression", *DETECTOR_FOLDERS):
        shutil.copytree(Path("models") / name, tmp_path / name)
    with serving(create_app(Settings(models=tmp_path))) as address:
        page.goto(address)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.locator(".tabs")).to_have_count(0)


@pytest.mark.parametrize(
    ("colour", "title", "said"),
    [
        (DRESS, "dress", "dress>99%"),
        (UNSURE, "unsure", "dress: below the 70% that this model needs."),
        (NONE, "None of these kinds of clothes", "none of these>99%"),
    ],
    ids=["a garment", "unsure", "none of these"],
)
def test_the_answer_for_an_image_stands_above_its_bars(
    clothing_server: str, page: Page, colour: tuple[int, int, int], title: str, said: str
) -> None:
    read(page, clothing_server, colour)
    expect(page.locator("#outcome-title")).to_have_text(title)
    expect(page.locator(".image-card .bars li")).to_have_count(11)
    expect(page.locator(".image-card")).to_contain_text(said)
    expect(page.locator(".face-box, #thorough:visible")).to_have_count(0)
    expect_accessible(page)


def test_an_image_model_of_another_task_mentions_no_clothing(page: Page, tmp_path: Path) -> None:
    write_clothing(tmp_path / "scenes")
    rewrite_card(tmp_path / "scenes", name="scenes", task="scenes")
    for name in DETECTOR_FOLDERS:
        shutil.copytree(Path("models") / name, tmp_path / name)
    with serving(create_app(Settings(models=tmp_path))) as address:
        page.goto(address)
        page.set_input_files("#image", [garment(NONE)])
        expect(page.locator(".image-card")).to_contain_text("none of these>99%")
        expect(page.locator("#outcome-view")).not_to_contain_text("kinds of clothes")


def test_the_answer_can_be_downloaded(clothing_server: str, page: Page) -> None:
    read(page, clothing_server, DRESS)
    given = json.loads(content(page, "#download-json"))
    (row,) = rows_of(content(page, "#download-csv"))
    assert (row["face"], row["image_clothing_label"]) == ("", "dress")
    share = given["image_predictions"]["clothing"]["probabilities"]["none_of_these"]
    assert float(row["image_clothing_probabilities_none_of_these"]) == share
    assert downloaded(page, "#download-picture").suggested_filename == "garment.raut.png"


@pytest.mark.browser_context_args(locale="id-ID", java_script_enabled=False)
def test_the_plain_form_answers_in_the_reader_s_language(clothing_server: str, page: Page) -> None:
    page.goto(clothing_server)
    page.get_by_role("link", name="Pakaian").click()
    page.set_input_files("#image", [garment(NONE)])
    page.get_by_role("button", name="Baca gambar").click()
    expect(page.locator("#outcome")).to_have_text("Bukan salah satu jenis pakaian ini")
    expect(page.locator(".plain-outcome tbody tr").first).to_contain_text("bukan salah satunya")
    expect(page.locator(".tabs [aria-current]")).to_have_text("Pakaian")
