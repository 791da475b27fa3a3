import base64
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import FilePayload, FloatRect, Locator, Page, Route, expect
from skimage import data

from app import create_app
from app.__main__ import cli
from app.settings import Settings
from tests.helpers.servers import serving

from .helpers import (
    ASTRONAUT,
    INDONESIAN,
    NO_PHOTO,
    ROCKET,
    SERVICE,
    TWO_FACES,
    WITHOUT_SCRIPT,
    answer,
    answer_with,
    choose,
    console_of,
    content,
    downloaded,
    expect_usable,
    face,
    picture_file,
    rows_of,
)

ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"code": "image_missing"}, "No photo arrived."),
    ({"code": "image_empty"}, "This file is empty."),
    ({"code": "image_unreadable"}, "may be damaged or cut short"),
    ({"code": "image_too_large", "limit_mb": 20}, "larger than 20 MB"),
    (
        {"code": "image_dimensions", "limit_megapixels": 50, "minimum_side": 24},
        "at least 24 pixels, and the whole photo at most 50 megapixels",
    ),
    (
        {"code": "image_type", "accepted": ["JPEG", "PNG", "HEIC"]},
        "Save the photo as JPEG, PNG, or HEIC",
    ),
    ({"code": "unknown_model", "choices": ["expression"]}, "It has expression."),
    ({"code": "rate_limited"}, "Wait a minute"),
    ({"code": "busy"}, "busy with other photos"),
    ({"code": "inference_unavailable"}, "The inference server does not respond at the moment"),
    ({"code": "internal"}, "The server failed to read this photo"),
    ({"code": "from_the_future"}, "What the server says."),
    ({"code": "image_dimensions"}, "What the server says."),
]


def heading(page: Page) -> Locator:
    return page.locator("#outcome-title")


def boxes(page: Page) -> Locator:
    return page.locator(".face-box")


def cards(page: Page) -> Locator:
    return page.locator(".face-card")


def places(page: Page, *selectors: str) -> list[list[FloatRect]]:
    """Measure the elements of each selector at one moment, so that a scroll cannot fall between."""
    measured: list[list[FloatRect]] = page.evaluate(
        """(selectors) => selectors.map((selector) => Array.from(
          document.querySelectorAll(selector), (each) => each.getBoundingClientRect().toJSON()))""",
        selectors,
    )
    return measured


def place(page: Page, selector: str) -> FloatRect:
    ((found,),) = places(page, selector)
    return found


def hand_over(page: Page, event: str, photo: FilePayload, count: int = 1) -> None:
    """Give the page files as a drop or a paste does."""
    encoded = base64.b64encode(photo["buffer"]).decode()
    page.evaluate(
        """([event, count, name, type, content]) => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          for (let at = 0; at < count; at++) transfer.items.add(new File([bytes], name, { type }));
          const members = { bubbles: true, cancelable: true };
          document.body.dispatchEvent(event === "paste"
            ? new ClipboardEvent("paste", { ...members, clipboardData: transfer })
            : new DragEvent(event, { ...members, dataTransfer: transfer }));
        }""",
        [event, count, photo["name"], photo["mimeType"], encoded],
    )


def answer_file_chooser(page: Page, photo: FilePayload) -> None:
    # From the start: a wait around the key press alone may begin after the chooser opened.
    page.on("filechooser", lambda chooser: chooser.set_files([photo]))


def read(page: Page, photo: FilePayload, body: Any, status: int = 200) -> None:
    """Choose a photo that is answered with this body."""
    answer_with(page, body, status)
    choose(page, photo)


@pytest.fixture(scope="module")
def loaded(live_server: str, shared_page: Page) -> Page:
    shared_page.on("dialog", lambda dialog: dialog.accept())
    shared_page.goto(live_server)
    return shared_page


@pytest.fixture
def opened(loaded: Page) -> Iterator[Page]:
    """The page without a photo, loaded once for all tests that leave nothing but photos in it."""
    yield loaded
    loaded.unroute_all()
    loaded.keyboard.press("Escape")
    loaded.evaluate("document.getElementById('another').click()")


@pytest.fixture
def two_faces(opened: Page) -> Page:
    """The page with the answer for two faces: a happy one, and an unsure one that is tilted."""
    read(opened, ASTRONAUT, TWO_FACES)
    return opened


def test_a_chosen_photo_shows_a_box_in_its_place_and_seven_bars(opened: Page) -> None:
    read(opened, ASTRONAUT, answer(face(128, 64)))
    expect(heading(opened)).to_have_text("1 face found")
    expect(boxes(opened)).to_have_count(1)
    expect(boxes(opened)).to_have_text("1 · happy 93%")
    (photo,), (box,) = places(opened, "#picture", ".face-box")
    scale = photo["width"] / 512
    assert box["x"] - photo["x"] == pytest.approx(128 * scale, abs=1)
    assert box["y"] - photo["y"] == pytest.approx(64 * scale, abs=1)
    assert box["width"] == pytest.approx(100 * scale, abs=1)
    expression = cards(opened).locator(".reading").first
    expect(expression.locator(".bars li")).to_have_count(7)
    expect(expression.locator(".answered")).to_have_text("happy93%")
    expect(opened.locator("#file-input")).to_be_hidden()


def test_a_busy_server_is_asked_again_when_it_says_so(opened: Page) -> None:
    busy = {"code": "busy", "status": 503, "retry_after": 1}
    sent: list[int] = []

    def respond(route: Route) -> None:
        sent.append(200 if sent else 503)
        body = TWO_FACES if sent[-1] == 200 else busy
        route.fulfill(status=sent[-1], content_type="application/json", body=json.dumps(body))

    opened.route(SERVICE, respond)
    choose(opened, ASTRONAUT)
    expect(heading(opened)).to_have_text("The server is busy: trying again in a moment…")
    expect(heading(opened)).to_have_text("2 faces found")
    assert sent == [503, 200]


def test_a_photo_that_broke_off_is_said_to_be_incomplete(opened: Page) -> None:
    incomplete = {"width": 512, "height": 512, "complete": False}
    read(opened, ASTRONAUT, {**TWO_FACES, "image": incomplete})
    expect(opened.locator("#photo-note")).to_contain_text("read as far as it goes")


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_dropped_or_pasted_photos_are_read(opened: Page, event: str) -> None:
    answer_with(opened, TWO_FACES)
    hand_over(opened, event, ROCKET, count=3)
    expect(boxes(opened)).to_have_count(2)
    expect(strip_status(opened)).to_have_text("3 of 3 read")
    hand_over(opened, event, ROCKET)
    expect(strip_status(opened)).to_have_text("4 of 4 read")


def test_a_dragged_file_shows_the_drop_zone_and_pasted_words_are_no_image(opened: Page) -> None:
    hand_over(opened, "dragover", ASTRONAUT)
    expect(opened.locator("#drop-veil")).to_be_visible()
    hand_over(opened, "dragleave", ASTRONAUT)
    expect(opened.locator("#drop-veil")).to_be_hidden()
    hand_over(opened, "paste", ASTRONAUT, count=0)
    expect(opened.locator("#file-input-note")).to_have_text("There is no picture on the clipboard.")


def test_a_tilted_face_and_an_unsure_reading_are_shown_and_announced(two_faces: Page) -> None:
    tilted = boxes(two_faces).nth(1)
    expect(tilted.locator(".face-outline")).to_have_attribute("style", "transform: rotate(20deg);")
    expect(tilted).to_have_text("2 · unsure")
    why = cards(two_faces).nth(1).locator(".why-unsure").first
    expect(why).to_have_text("40% sad: below the 69% that this model needs.")
    announcement = two_faces.locator("#announcement")
    expect(announcement).to_have_attribute("aria-live", "polite")
    expect(announcement).to_have_text("2 faces found. Face 1: happy. Face 2: unsure")
    two_faces.get_by_text("Timings and models").click()
    expect(two_faces.locator("#timings tr")).to_have_count(4)
    expect(two_faces.locator("#timings")).to_contain_text("35.4 ms")
    expect(two_faces.locator("#models")).to_contain_text("0123456789ab")


@pytest.mark.parametrize("target", [".face-box", ".face-card-head button"])
def test_a_click_on_a_box_or_a_card_selects_both(two_faces: Page, target: str) -> None:
    two_faces.locator(target).nth(1).click()
    expect(boxes(two_faces).nth(1)).to_have_attribute("aria-pressed", "true")
    expect(boxes(two_faces).nth(0)).to_have_attribute("aria-pressed", "false")
    expect(cards(two_faces).nth(1)).to_have_attribute("aria-current", "true")


def test_a_hidden_face_and_one_without_readings_have_boxes_and_cards(opened: Page) -> None:
    hidden, bare = face(170, 70, confident=False), face(20, 300)
    hidden["expression"]["reason"] = "blurred"
    del bare["expression"], bare["gender"]
    read(opened, ASTRONAUT, answer(hidden, bare))
    why = cards(opened).first.locator(".why-unsure").first
    expect(why).to_have_text("The face is blurred: this reading can't be trusted.")
    expect(boxes(opened)).to_have_text(["1 · unsure", "2"])
    expect(cards(opened).nth(1).locator(".face-label")).to_have_text("Face 2")


def test_sixty_four_faces_keep_one_card_open(opened: Page) -> None:
    crowd = [face(60 * (at % 8), 60 * (at // 8)) for at in range(64)]
    for each in crowd:
        each["box"].update(width=40.0, height=40.0)
    read(opened, ASTRONAUT, answer(*crowd))
    expect(boxes(opened)).to_have_count(64)
    boxes(opened).nth(40).click()
    expect(opened.locator(".face-card-head button[aria-expanded='true']")).to_have_count(1)
    expect(cards(opened).nth(40)).to_be_in_viewport()


def test_the_page_works_with_the_keyboard_alone(start: Page) -> None:
    answer_with(start, TWO_FACES)
    answer_file_chooser(start, ASTRONAUT)
    start.keyboard.press("Tab")
    expect(start.locator(".skip-link")).to_be_focused()
    start.keyboard.press("Enter")
    for _ in start.locator(".tabs a").all():
        start.keyboard.press("Tab")
    start.keyboard.press("Tab")
    expect(start.locator("#choose")).to_be_focused()
    start.keyboard.press("Enter")
    expect(boxes(start)).to_have_count(2)
    expect(heading(start)).to_be_focused()
    start.keyboard.press("Tab")
    expect(start.locator("#another")).to_be_focused()
    start.keyboard.press("Tab")
    expect(start.locator("#thorough")).to_be_focused()
    start.keyboard.press("Tab")
    expect(boxes(start).nth(0)).to_be_focused()
    start.keyboard.press("ArrowRight")
    expect(boxes(start).nth(1)).to_be_focused()
    expect(cards(start).nth(1)).to_have_attribute("aria-current", "true")
    start.keyboard.press("Home")
    start.keyboard.press("Enter")
    expect(cards(start).nth(0)).to_have_attribute("aria-current", "true")


def test_downloads_are_the_answer_a_table_and_the_photo_with_boxes(two_faces: Page) -> None:
    download = downloaded(two_faces, "#download-json")
    assert download.suggested_filename == "astronaut.raut.json"
    assert json.loads(Path(download.path()).read_bytes()) == TWO_FACES
    rows = rows_of(content(two_faces, "#download-csv"))
    assert [row["face"] for row in rows] == ["1", "2"]
    assert rows[0]["expression_label"] == "happy"
    assert float(rows[0]["expression_probabilities_happy"]) == 0.93
    assert rows[1]["expression_confident"] == "false"
    assert float(rows[1]["roll_degrees"]) == 20
    annotated = Image.open(BytesIO(content(two_faces, "#download-picture"))).convert("RGB")
    original = Image.open(BytesIO(ASTRONAUT["buffer"])).convert("RGB")
    assert annotated.size == original.size
    assert annotated.getpixel((170, 120)) != original.getpixel((170, 120))
    assert annotated.getpixel((500, 500)) == original.getpixel((500, 500))


def test_the_csv_is_the_command_line_s_even_without_faces(opened: Page, tmp_path: Path) -> None:
    photos = several(ROCKET, 2)
    choose(opened, *photos)
    expect(strip_status(opened)).to_have_text("2 of 2 read", timeout=30_000)
    saved = content(opened, "#all-csv").decode()
    for photo in photos:
        (tmp_path / photo["name"]).write_bytes(photo["buffer"])
    arguments = ["analyze", str(tmp_path), "--csv", "-", "--csv-dialect", "excel"]
    told = CliRunner().invoke(cli, arguments).stdout.replace(f"{tmp_path}/", "")
    assert "expression_probabilities_happy" in saved
    assert saved.splitlines() == told.splitlines()


@INDONESIAN
def test_indonesian_spreadsheets_get_semicolons_commas_and_no_formulas(start: Page) -> None:
    read(start, {**ASTRONAUT, "name": "=1+1.png"}, TWO_FACES)
    head, first, _ = content(start, "#download-csv").decode().splitlines()
    assert head.startswith("\ufefffile;time_s;frame;cut;width;height;")
    assert first.startswith("'=1+1.png;;;;512;512;true;2;1;;170;70;100;100;0,98;0;happy;0,93;true;")


def several(photo: FilePayload, count: int) -> list[FilePayload]:
    return [{**photo, "name": f"photo {at}.jpg"} for at in range(1, count + 1)]


def thumbnails(page: Page) -> Locator:
    return page.locator(".thumbnail")


def strip_status(page: Page) -> Locator:
    return page.locator("#strip-status")


def answer_by_name(page: Page, respond: Callable[[str], tuple[int, Any]]) -> list[str]:
    """Answer each photo by its name; return the list to which the names are added."""
    asked: list[str] = []

    def fulfil(route: Route) -> None:
        # Only the form's head is text.
        head = (route.request.post_data_buffer or b"")[:400].decode("latin-1")
        asked.append(re.findall(r'filename="([^"]*)"', head)[0])
        code, body = respond(asked[-1])
        route.fulfill(status=code, content_type="application/json", body=json.dumps(body))

    page.route(SERVICE, fulfil)
    return asked


def test_many_photos_are_read_two_at_a_time_and_passed_through_by_keys(opened: Page) -> None:
    held: list[Route] = []
    opened.route(SERVICE, lambda route: held.append(route))
    choose(opened, *several(ROCKET, 5))
    expect(opened.locator(".thumbnail[data-state=reading]")).to_have_count(2)
    expect(opened.locator("#photo-name")).to_have_text("photo 1.jpg")
    opened.keyboard.press("ArrowRight")
    expect(opened.locator("#photo-name")).to_have_text("photo 2.jpg")
    thumbnails(opened).nth(4).click()
    for at in range(5):
        while len(held) <= at:
            opened.wait_for_timeout(50)
        held[at].fulfill(json=TWO_FACES)
    expect(strip_status(opened)).to_have_text("5 of 5 read")
    # The photo on the page went before those that waited.
    assert b"photo 5.jpg" in (held[2].request.post_data_buffer or b"")
    expect(thumbnails(opened).nth(4)).to_have_attribute("aria-label", "photo 5.jpg: 2 faces found")
    expect(thumbnails(opened).nth(4)).to_have_text("2")
    opened.keyboard.press("ArrowLeft")
    expect(thumbnails(opened).nth(3)).to_be_focused()
    expect(opened.locator("#photo-name")).to_have_text("photo 4.jpg")


def test_reading_many_can_be_stopped_and_what_failed_is_tried_again(opened: Page) -> None:
    broken = True

    def respond(name: str) -> tuple[int, Any]:
        if name == "photo 2.jpg" and broken:
            return 500, {"code": "internal", "detail": ""}
        return 200, TWO_FACES

    asked = answer_by_name(opened, respond)
    choose(opened, *several(ROCKET, 3))
    expect(strip_status(opened)).to_have_text("2 of 3 read · 1 failed")
    broken = False
    opened.click("#retry-failed")
    expect(strip_status(opened)).to_have_text("3 of 3 read")
    assert asked.count("photo 2.jpg") == 2
    opened.unroute(SERVICE)
    opened.route(SERVICE, lambda route: None)
    choose(opened, *several(ROCKET, 2))
    expect(opened.locator(".thumbnail[data-state=reading]")).to_have_count(2)
    opened.click("#stop")
    expect(opened.locator(".thumbnail[data-state=waiting]")).to_have_count(2)
    opened.unroute(SERVICE)
    answer_with(opened, TWO_FACES)
    opened.click("#continue")
    expect(strip_status(opened)).to_have_text("5 of 5 read")


def test_all_photos_are_saved_as_one_table_one_list_and_one_archive(opened: Page) -> None:
    answers = {"photo 1.jpg": (200, TWO_FACES), "photo 2.jpg": (200, answer())}
    refused = (422, {"code": "image_unreadable", "detail": "It is damaged."})
    answer_by_name(opened, lambda name: answers.get(name, refused))
    twins = several(ROCKET, 2)
    choose(opened, *twins, twins[0], NO_PHOTO)
    expect(strip_status(opened)).to_have_text("3 of 4 read · 1 failed")
    rows = rows_of(content(opened, "#all-csv"))
    assert [(row["file"], row["faces"], row["face"], row["error"]) for row in rows] == [
        ("photo 1.jpg", "2", "1", ""),
        ("photo 1.jpg", "2", "2", ""),
        ("photo 2.jpg", "0", "", ""),
        ("photo 1.jpg", "2", "1", ""),
        ("photo 1.jpg", "2", "2", ""),
        ("words.png", "", "", "image_unreadable"),
    ]
    listed = json.loads(content(opened, "#all-json"))
    assert listed[0] == {"file": "photo 1.jpg", **TWO_FACES}
    assert listed[3] == {
        "file": "words.png",
        "error": "image_unreadable",
        "error_detail": "It is damaged.",
    }
    archive = zipfile.ZipFile(BytesIO(content(opened, "#all-zip")))
    assert archive.testzip() is None
    assert archive.namelist() == ["photo 1.png", "photo 2.png", "photo 1 (2).png"]


def test_a_folder_gives_its_photos_only(opened: Page, tmp_path: Path) -> None:
    answer_with(opened, TWO_FACES)
    (tmp_path / "album" / "@eaDir").mkdir(parents=True)
    for name in ("b.jpg", "a.HEIC", "._b.jpg", "notes.txt", "@eaDir/thumb.jpg"):
        (tmp_path / "album" / name).write_bytes(ROCKET["buffer"])
    opened.set_input_files("#folder", tmp_path / "album")
    expect(strip_status(opened)).to_have_text("2 of 2 read")
    names = {row["file"] for row in rows_of(content(opened, "#all-csv"))}
    assert names == {"album/b.jpg", "album/a.HEIC"}


def test_a_card_shows_its_face_and_marks_its_box_and_the_other_way_round(two_faces: Page) -> None:
    expect(two_faces.locator("#tally")).to_have_text("1 happy · 1 unsure")
    expect(cards(two_faces).locator(".face-crop")).to_have_count(2)
    cards(two_faces).nth(1).hover()
    expect(boxes(two_faces).nth(1)).to_contain_class("pointed")
    boxes(two_faces).nth(0).hover()
    expect(cards(two_faces).nth(0)).to_contain_class("pointed")
    expect(cards(two_faces).nth(1)).not_to_contain_class("pointed")


def class_photo() -> Any:
    """An answer with 24 faces in rows, whose words would not fit between them."""
    faces = [face(20 + 82 * (at % 6), 40 + 112 * (at // 6)) for at in range(24)]
    for each in faces:
        each["box"].update(width=66.0, height=66.0)
    return answer(*faces)


def test_labels_cover_neither_faces_nor_each_other(opened: Page) -> None:
    read(opened, ASTRONAUT, class_photo())
    expect(boxes(opened)).to_have_count(24)
    labels, outlines = places(opened, ".chip", ".face-outline")
    for at, label in enumerate(labels):
        for other in outlines + labels[at + 1 :]:
            beside = label["x"] + label["width"] <= other["x"] + 1 or (
                other["x"] + other["width"] <= label["x"] + 1
            )
            above = label["y"] + label["height"] <= other["y"] + 1 or (
                other["y"] + other["height"] <= label["y"] + 1
            )
            assert beside or above, (label, other)


def test_the_picture_of_a_class_has_a_legend_below_and_is_a_jpeg_if_large(opened: Page) -> None:
    large = picture_file(data.astronaut().repeat(5, 0).repeat(5, 1), "class.jpg")
    read(opened, large, class_photo())
    expect(boxes(opened)).to_have_count(24)
    saved = Image.open(BytesIO(content(opened, "#download-picture")))
    assert saved.format == "PNG"
    assert saved.width == 512
    assert saved.height > 512
    enlarged = json.loads(json.dumps(class_photo()))
    enlarged["image"].update(width=2560, height=2560)
    read(opened, large, enlarged)
    expect(strip_status(opened)).to_have_text("2 of 2 read")
    expect(opened.locator("#downloads")).to_be_visible()
    assert Image.open(BytesIO(content(opened, "#download-picture"))).format == "JPEG"


def test_the_photo_is_zoomed_by_keys_and_by_the_wheel(start: Page) -> None:
    read(start, ASTRONAUT, TWO_FACES)
    frame = start.locator("#photo-frame")
    width = place(start, "#photo-frame")["width"]
    boxes(start).first.focus()
    start.keyboard.press("+")
    assert place(start, "#picture")["width"] == pytest.approx(1.5 * width, rel=0.01)
    start.keyboard.press("0")
    assert place(start, "#picture")["width"] == pytest.approx(width, rel=0.01)
    frame.hover()
    start.keyboard.down("Control")
    start.mouse.wheel(0, -200)
    start.keyboard.up("Control")
    expect(start.locator("#photo")).to_have_attribute("style", re.compile(r"--zoom: 2\.7"))
    assert place(start, "#picture")["width"] > 2 * width


def test_paper_gets_the_picture_and_one_table(two_faces: Page) -> None:
    two_faces.emulate_media(media="print")
    expect(two_faces.locator(".printed-faces tbody tr")).to_have_text(
        ["1happy 93%female 88%", "2unsurefemale 88%"]
    )
    expect(two_faces.locator("#picture")).to_be_visible()
    expect(two_faces.locator("#cards")).to_be_hidden()
    two_faces.emulate_media(media="null")


def noise(side: int, name: str) -> FilePayload:
    """A photo whose file is large: noise can't be compressed."""
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    return picture_file(pixels, name, quality=95, compress_level=0)


def test_a_large_photo_is_shrunk_before_it_is_sent_and_read_in_its_own_pixels(start: Page) -> None:
    sent: list[tuple[int, int]] = []

    def fulfil(route: Route) -> None:
        body = route.request.post_data_buffer or b""
        size = Image.open(BytesIO(body[body.index(b"\xff\xd8") :])).size
        sent.append(size)
        route.fulfill(json=answer(face(150, 300), width=size[0], height=size[1]))

    start.route(SERVICE, fulfil)
    photo = noise(2304, "large.jpg")
    assert start.locator("#send-original").is_checked()  # Nothing is saved on the way to localhost.
    choose(start, photo)
    expect(heading(start)).to_have_text("1 face found")
    expect(start.locator("#photo-note")).to_be_hidden()
    start.click("#another")
    start.locator("#send-original").uncheck()
    choose(start, photo)
    expect(start.locator("#photo-note")).to_contain_text("A copy of 1,536 × 1,536 pixels was sent")
    assert sent == [(2304, 2304), (1536, 1536)]
    answered = json.loads(content(start, "#download-json"))
    assert answered["image"] == {"width": 2304, "height": 2304, "complete": True}
    assert answered["faces"][0]["box"] == {"x": 225, "y": 450, "width": 150, "height": 150}


def test_a_photo_over_the_limit_that_can_be_drawn_is_shrunk(opened: Page, tmp_path: Path) -> None:
    sent: list[int] = []

    def fulfil(route: Route) -> None:
        sent.append(len(route.request.post_data_buffer or b""))
        route.fulfill(json=answer(width=2700, height=2700))

    opened.route(SERVICE, fulfil)
    limit = int(opened.locator("#photo-form").get_attribute("data-limit-mb") or 0) * 1_000_000
    photo = tmp_path / "large.png"
    photo.write_bytes(noise(2700, "large.png")["buffer"])
    assert photo.stat().st_size > limit
    opened.set_input_files("#image", photo)
    # The browser decodes and encodes 22 MB meanwhile.
    expect(heading(opened)).to_have_text("No face found", timeout=30_000)
    assert 0 < sent[0] < limit


def test_exif_orientation_is_applied_on_screen_and_in_the_download(opened: Page) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = picture_file(data.astronaut()[:256], "sideways.jpg", exif=exif)
    read(opened, sideways, answer(face(20, 20), width=256, height=512))
    expect(boxes(opened)).to_have_count(1)
    shown = place(opened, "#picture")
    assert shown["height"] == pytest.approx(2 * shown["width"], rel=0.01)
    saved = Image.open(BytesIO(content(opened, "#download-picture")))
    assert saved.size == (256, 512)


def test_where_no_face_is_found_advice_and_a_thorough_search_help(opened: Page) -> None:
    choose(opened, picture_file(data.astronaut()[::-1, ::-1], "turned.png"))
    expect(heading(opened)).to_have_text("No face found")
    expect(opened.locator("#message")).to_contain_text("come closer, find more light")
    expect(opened.locator("#download-picture")).to_be_hidden()
    opened.get_by_role("button", name="Search all rotations and sizes").click()
    expect(heading(opened)).to_have_text("1 face found", timeout=20_000)
    expect(opened.locator("#thorough")).to_be_hidden()


def test_an_error_has_its_sentence_and_the_request_s_id(opened: Page) -> None:
    for problem, sentence in ERRORS:
        read(opened, ASTRONAUT, {"detail": "What the server says.", **problem}, 400)
        expect(opened.locator("#message")).to_be_visible()
        expect(heading(opened)).to_have_text("No answer for this photo")
        expect(opened.locator("#message")).to_contain_text(sentence)
    read(opened, ASTRONAUT, {"code": "internal", "detail": "", "request_id": "7f3a91c2"}, 500)
    expect(opened.locator("#message-reference")).to_have_text("Request 7f3a91c2")


def test_an_unreachable_server_is_reported_and_can_be_retried(opened: Page) -> None:
    opened.route(SERVICE, lambda route: route.abort("connectionrefused"))
    choose(opened, ASTRONAUT)
    expect(opened.locator("#message")).to_contain_text("The server could not be reached.")
    opened.unroute(SERVICE)
    answer_with(opened, TWO_FACES)
    opened.click("#retry")
    expect(heading(opened)).to_have_text("2 faces found")


def test_a_file_over_the_limit_is_refused_without_sending_it(opened: Page, tmp_path: Path) -> None:
    sent: list[str] = []
    opened.on("request", lambda request: sent.append(request.method))
    limit = int(opened.locator("#photo-form").get_attribute("data-limit-mb") or 0)
    # A file on the disk: its bytes need not pass through Playwright's pipe, which takes seconds.
    photo = tmp_path / "large.png"
    photo.write_bytes(bytes(limit * 1_000_000 + 1))
    opened.set_input_files("#image", photo)
    expect(opened.locator("#message")).to_contain_text(f"larger than {limit} MB")
    assert "POST" not in sent


def test_a_stale_answer_never_replaces_a_newer_photo(opened: Page) -> None:
    held: list[Route] = []
    opened.route(SERVICE, lambda route: held.append(route))
    with opened.expect_request(SERVICE):
        choose(opened, ASTRONAUT)
    with opened.expect_request(SERVICE):
        choose(opened, ROCKET)
    expect(opened.locator("#photo-name")).to_have_text("rocket.jpg")
    held[1].fulfill(json=answer())
    expect(heading(opened)).to_have_text("No face found")
    held[0].fulfill(json=TWO_FACES)
    expect(opened.locator("#strip-status")).to_have_text("2 of 2 read")
    expect(heading(opened)).to_have_text("No face found")
    expect(boxes(opened)).to_have_count(0)


def test_analyse_another_and_cancel_return_to_the_start(two_faces: Page) -> None:
    two_faces.click("#another")
    expect(two_faces.locator("#choose")).to_be_focused()
    two_faces.unroute(SERVICE)
    two_faces.route(SERVICE, lambda route: None)
    choose(two_faces, ASTRONAUT)
    expect(heading(two_faces)).to_have_text("Reading the photo…")
    two_faces.click("#cancel")
    expect(two_faces.locator("#choose")).to_be_focused()
    expect(two_faces.locator("#outcome-view")).to_be_hidden()


@pytest.mark.parametrize("taken", [True, False])
def test_a_snapshot_is_read_and_the_camera_always_released(opened: Page, taken: bool) -> None:
    answer_with(opened, TWO_FACES)
    opened.click("#snap")
    expect(opened.locator("#camera-take")).to_be_enabled()
    track = opened.evaluate_handle(
        "document.getElementById('camera-video').srcObject.getTracks()[0]"
    )
    if taken:
        opened.click("#camera-take")
        expect(opened.locator("#photo-name")).to_have_text("snapshot.jpg")
        expect(boxes(opened)).to_have_count(2)
    else:
        opened.keyboard.press("Escape")
    expect(opened.locator("#camera")).to_be_hidden()
    opened.wait_for_function("(track) => track.readyState === 'ended'", arg=track)


def test_an_analysis_contacts_no_other_host_and_follows_the_content_security_policy(
    live_server: str, page: Page
) -> None:
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    said = console_of(page)
    page.goto(live_server)
    answer_with(page, TWO_FACES)
    choose(page, ASTRONAUT)
    expect(boxes(page)).to_have_count(2)
    downloaded(page, "#download-picture")
    # A blob has no host: it never leaves the browser.
    assert hosts - {""} == {urlsplit(live_server).netloc}
    assert said == []


def test_the_real_server_reads_the_astronaut_shows_its_steps_and_rejects_text(opened: Page) -> None:
    choose(opened, ASTRONAUT)
    expect(heading(opened)).to_have_text("1 face found")
    (photo,), (box,) = places(opened, "#picture", ".face-box")
    middle = (box["x"] + box["width"] / 2 - photo["x"]) / photo["width"]
    assert middle == pytest.approx(225 / 512, abs=0.05)
    with opened.context.expect_page() as steps:
        opened.get_by_role("button", name="See every step for this face").click()
    expect(steps.value.locator(".step").first).to_be_visible()
    assert urlsplit(steps.value.url).path == "/steps"
    expect(steps.value.locator("#face")).to_have_value("1")
    steps.value.close()
    choose(opened, NO_PHOTO)
    expect(opened.locator("#message")).to_contain_text(
        "Save the photo as JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP, or TIFF"
    )


@WITHOUT_SCRIPT
def test_the_plain_form_answers_without_script(start: Page) -> None:
    def send(photo: FilePayload) -> None:
        choose(start, photo)
        start.get_by_role("button", name="Read the faces").click()

    send(ASTRONAUT)
    expect(start.get_by_role("heading", name="1 face found")).to_be_visible()
    expect(start.locator("tbody tr")).to_have_count(1)
    expect(start.get_by_role("columnheader", name="Expression shown")).to_be_visible()
    send(ROCKET)
    expect(start.get_by_role("heading", name="No face found")).to_be_visible()
    send(NO_PHOTO)
    expect(start.locator(".problem")).to_contain_text(
        "Save the photo as JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP, or TIFF"
    )


@INDONESIAN
def test_an_indonesian_browser_gets_indonesian(start: Page) -> None:
    expect(start.locator("html")).to_have_attribute("lang", "id")
    expect(start.get_by_role("heading", level=1)).to_have_text(
        "Ekspresi apa yang tampak di foto ini?"
    )
    read(start, ASTRONAUT, TWO_FACES)
    expect(heading(start)).to_have_text("2 wajah ditemukan")
    expect(boxes(start).first).to_have_text("1 · senang 93%")
    expect(boxes(start).nth(1)).to_have_text("2 · tidak yakin")


def test_the_photo_and_answer_survive_another_language_a_reload_and_a_tab(start: Page) -> None:
    read(start, ASTRONAUT, TWO_FACES)
    expect(heading(start)).to_have_text("2 faces found")
    start.unroute(SERVICE)
    asked: list[str] = []
    start.on("request", lambda request: asked.append(urlsplit(request.url).path))
    start.get_by_role("button", name="Bahasa Indonesia").click()
    expect(heading(start)).to_have_text("2 wajah ditemukan")
    kept = next(each for each in start.context.cookies() if each.get("name") == "raut_language")
    assert kept.get("sameSite") == "Lax"
    start.reload()
    expect(start.locator("html")).to_have_attribute("lang", "id")
    expect(heading(start)).to_have_text("2 wajah ditemukan")
    expect(start.locator("#picture")).to_be_visible()
    assert "/api/v1/analyze" not in asked
    answer_with(start, {**answer(), "image_predictions": {}})
    with start.expect_request(SERVICE):
        start.get_by_role("link", name="Pakaian").click()


def test_the_colours_follow_the_system_and_the_switch(start: Page) -> None:
    root = start.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "light")
    start.emulate_media(color_scheme="dark")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    start.get_by_role("button", name="Dark colours").click()
    expect(root).to_have_attribute("data-bs-theme", "light")
    start.reload()
    expect(root).to_have_attribute("data-bs-theme", "light")


@pytest.mark.parametrize(
    ("body", "status", "title"),
    [
        (TWO_FACES, 200, "2 faces found"),
        (answer(), 200, "No face found"),
        ({"code": "image_empty", "detail": ""}, 400, "No answer for this photo"),
    ],
)
def test_every_outcome_is_accessible_and_fits_a_narrow_phone(
    opened: Page, body: Any, status: int, title: str
) -> None:
    read(opened, ASTRONAUT, body, status)
    expect(heading(opened)).to_have_text(title)
    expect_usable(opened)


def test_every_other_state_is_accessible_and_fits_a_narrow_phone(opened: Page) -> None:
    expect_usable(opened)
    opened.click("#snap")
    expect(opened.locator("#camera-take")).to_be_enabled()
    expect_usable(opened)
    opened.keyboard.press("Escape")
    opened.route(SERVICE, lambda route: None)
    choose(opened, ASTRONAUT)
    expect(opened.locator("#progress")).to_be_visible()
    expect_usable(opened)
    opened.click("#cancel")
    opened.unroute(SERVICE)
    answer_with(opened, TWO_FACES)
    choose(opened, *several(ASTRONAUT, 6))
    expect(strip_status(opened)).to_have_text("6 of 6 read", timeout=20_000)
    expect_usable(opened)


def test_the_operators_sample_photos_are_read_at_a_click(page: Page, tmp_path: Path) -> None:
    Image.fromarray(data.astronaut()).save(tmp_path / "Eileen Collins (NASA).jpg")
    (tmp_path / "notes.txt").write_text("no photo")
    with serving(create_app(Settings(samples=tmp_path))) as address:
        page.goto(address)
        samples = page.get_by_role("list", name="Sample photos").get_by_role("button")
        expect(samples).to_have_count(1)
        expect(samples.locator("img")).to_have_js_property("naturalWidth", 512)
        page.route("**/samples/0", lambda route: route.abort())
        samples.click()
        expect(page.locator("#file-input-note")).to_contain_text("does not send this sample photo")
        page.unroute("**/samples/0")
        samples.click()
        expect(page.locator(".face-card")).to_have_count(1)
        assert page.request.get(f"{address}/samples/1").status == 404
