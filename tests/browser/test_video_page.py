import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, WebSocketRoute, expect
from skimage import data

from bench.moving import move_picture

from .helpers import CODECS, answer, content, expect_usable, face, rows_of, write_film
from .test_realtime_page import NO_SOCKETS, Server

RATE = 5
SECONDS = 4
Faces = Callable[[float], list[Any]]


@pytest.fixture(scope="module", params=CODECS)
def film_of_a_face(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("films") / f"face.{request.param}"
    return write_film(path, move_picture(data.astronaut(), SECONDS * 25, rate=25), 25)


@pytest.fixture(scope="module")
def film(tmp_path_factory: Any) -> Path:
    """Without a face: its readings come from the test. A late sample shows the due frame."""
    path: Path = tmp_path_factory.mktemp("films") / "grey.webm"
    greys = np.linspace(0, 255, SECONDS * 5).astype(np.uint8)
    return write_film(path, (np.full((240, 320, 3), grey, np.uint8) for grey in greys), 5)


class FilmServer(Server):
    """A server that is told the time of each frame: `faces` gives those of a moment."""

    def __init__(self, page: Page, faces: Faces) -> None:
        super().__init__(page)
        self.faces_at = faces
        self.times: list[list[float]] = []  # on each connection
        self.closes_after = self.mute_after = -1

    def _open(self, route: WebSocketRoute) -> None:
        self.times.append([])
        super()._open(route)

    def _read(self, frame: bytes) -> None:
        (time,) = struct.unpack(">d", frame[:8])
        assert frame[8:10] == b"\xff\xd8"
        self.times[-1].append(time)
        if self.frames == self.closes_after:
            self.close(1001, "server_stops")
        elif self.frames != self.mute_after:
            self.send(**answer(*self.faces_at(time), width=320, height=240))


def seen(track: int, label: str = "happy", x: float = 20.0, confident: bool = True) -> Any:
    return {"track": track, "detected": True, **face(x, 20, label, confident)}


def open_film(page: Page, server: str, film: Path) -> None:
    page.goto(f"{server}/video")
    page.set_input_files("#file", film)
    expect(page.locator("#film-title")).to_have_text(film.name)


def read(page: Page) -> None:
    page.click("#start")
    expect(page.locator("#video-page")).to_have_attribute("data-reading", "done", timeout=90_000)


def table(page: Page) -> list[dict[str, str]]:
    return rows_of(content(page, "#save-csv"))


def persons(page: Page) -> list[str]:
    return [row["person"] for row in table(page)]


def two_shots(time: float) -> list[Any]:
    """One face, a cut at the second 2, and a face at the same place."""
    return [seen(1, "happy")] if time < 2 else [seen(2, "sad")]


@pytest.fixture
def opened(live_server: str, page: Page, film: Path) -> Page:
    open_film(page, live_server, film)
    return page


@pytest.fixture
def shots(opened: Page) -> Page:
    FilmServer(opened, two_shots)
    read(opened)
    return opened


def test_a_film_becomes_a_table_with_the_times_of_its_frames(
    live_server: str, page: Page, film_of_a_face: Path
) -> None:
    open_film(page, live_server, film_of_a_face)
    read(page)
    rows = table(page)
    assert [int(row["frame"]) for row in rows] == list(range(1, SECONDS * RATE + 1))
    for index, row in enumerate(rows):
        assert 0 <= float(row["time_s"]) - index / RATE < 1 / RATE
        assert (row["person"], row["track"]) == ("Person 1", "1")
        assert (row["expression_label"], row["expression_confident"]) == ("happy", "true")
    expect(page.locator("#report tbody")).to_contain_text("happy100.0%")


def test_a_lost_connection_goes_on_at_the_frame_where_it_broke(opened: Page) -> None:
    # The second connection numbers the same face anew.
    server = FilmServer(opened, lambda time: [seen(len(server.times))])
    server.closes_after = 8
    read(opened)
    first, second = server.times
    assert second[:2] == first[-2:]  # The last frame that was answered joins the two numberings.
    assert server.texts[0]["clock"] == "media"
    rows = table(opened)
    assert [float(row["time_s"]) for row in rows] == [*first[:-1], *second[1:]]
    assert {row["track"] for row in rows} == {"1"}


def test_frames_go_as_photos_where_sockets_are_blocked(opened: Page) -> None:
    opened.evaluate(f"() => {{ {NO_SOCKETS} }}")
    opened.route("**/api/v1/analyze", lambda route: route.fulfill(json=answer(face(20, 20))))
    read(opened)
    assert [row["track"] for row in table(opened)] == ["1"] * SECONDS * RATE


def test_a_range_is_read_at_the_chosen_rate_and_pauses(opened: Page) -> None:
    server = FilmServer(opened, lambda _: [])
    opened.fill("#rate", "10")
    opened.fill("#from", "0:01")
    opened.fill("#until", "3,5")
    server.mute_after = 6
    opened.click("#start")
    expect(opened.locator("#progress-text")).to_contain_text("5 of 25 frames")
    opened.click("#pause")
    expect(opened.locator("#message")).to_have_text("Paused. Nothing is sent.")
    opened.click("#pause")
    expect(opened.locator("#video-page")).to_have_attribute("data-reading", "done", timeout=30_000)
    times = [float(row["time_s"]) for row in table(opened)]
    assert len(times) == 25
    assert (times[0], times[-1]) == pytest.approx((1, 3.4), abs=0.1)


def test_a_cancelled_reading_keeps_what_was_read(opened: Page) -> None:
    server = FilmServer(opened, lambda _: [seen(1)])
    server.mute_after = 8
    opened.click("#start")
    expect(opened.locator("#progress-text")).to_contain_text("7 of 20 frames")
    opened.click("#cancel")
    assert len(table(opened)) == 7


def test_a_face_after_a_cut_is_only_suggested_as_the_same_person(shots: Page) -> None:
    assert set(persons(shots)) == {"Person 1", "Person 2"}
    expect(shots.locator(".suggestion")).to_contain_text("Person 2, who comes at 0:02")
    shots.click(".suggestion [value=yes]")
    assert set(persons(shots)) == {"Person 1"}
    expect(shots.locator("#report-persons")).to_contain_text("changes of expression: 1;")


def test_persons_are_named_divided_and_hidden(shots: Page) -> None:
    shots.locator(".person-name").first.fill("Ann")
    shots.locator("#view").focus()
    shots.locator("#seek").fill("1")
    shots.locator(".person summary").first.click()
    shots.locator(".person-split").first.click()
    assert persons(shots) == [*["Ann"] * 5, *["Person 3"] * 5, *["Person 2"] * 10]
    shots.locator(".person summary").nth(1).click()
    shots.locator(".person-hidden").nth(1).check()
    assert persons(shots)[10:] == [""] * 10


def test_persons_who_are_visible_together_can_t_be_one(opened: Page) -> None:
    FilmServer(opened, lambda _: [seen(1), seen(2, x=180)])
    read(opened)
    opened.locator(".person summary").first.click()
    opened.locator(".person-merge").first.select_option("Person 2")
    expect(opened.locator("#message")).to_have_text(
        "Both are visible at once, so they can't be one person."
    )
    assert set(persons(opened)) == {"Person 1", "Person 2"}


def test_marks_and_a_baseline_are_in_the_exports(shots: Page) -> None:
    shots.fill("#event-word", "question")
    shots.locator("#seek").fill("0.4")
    shots.locator("#view").press("e")
    shots.click("#exclude")
    shots.locator("#seek").fill("1")
    shots.click("#exclude")
    shots.locator(".person summary").first.click()
    shots.click(".person-baseline >> nth=0")
    shots.locator("#seek").fill("2")
    shots.click(".person-baseline >> nth=0")
    shots.check("#changes")
    rows = table(shots)
    assert [row["event"] for row in rows if row["event"]] == ["question"]
    assert [row["excluded"] for row in rows[:6]] == ["false"] * 2 + ["true"] * 3 + ["false"]
    assert float(rows[0]["change_happy"]) == pytest.approx(0, abs=1e-3)
    assert rows[15]["change_happy"] == ""  # of the other person, who has no baseline
    saved = json.loads(content(shots, "#save-json"))
    assert saved["about"]["models"] == {"expression": "0123456789ab", "gender": "ba9876543210"}
    assert saved["about"]["settings"]["rate"] == RATE
    assert saved["events"] == [{"time": 0.4, "word": "question"}]
    assert saved["report"][0]["seen_s"] == pytest.approx(1.4)
    assert content(shots, "#save-png").startswith(b"\x89PNG")


def test_the_page_is_usable_and_its_chart_and_the_arrow_keys_go_to_a_frame(shots: Page) -> None:
    expect_usable(shots)
    chart = shots.locator("#chart")
    box = chart.bounding_box()
    assert box
    chart.click(position={"x": (48 + box["width"] - 12) / 2, "y": 50})
    expect(shots.locator("#time")).to_have_text("0:02.0")
    shots.locator("#view").press("ArrowRight")
    expect(shots.locator("#time")).to_have_text("0:02.2")
    shots.click("#zoom-in")
    shots.click("#zoom-in")
    chart.click(position={"x": box["width"] - 13, "y": 50})
    expect(shots.locator("#time")).to_have_text("0:02.6")


def test_the_subtitles_of_a_person_follow_the_expression(opened: Page) -> None:
    FilmServer(opened, lambda time: [seen(1, "happy" if time < 1 else "sad")] if time < 2 else [])
    read(opened)
    assert content(opened, "#save-vtt").decode().split("\n\n") == [
        "WEBVTT",
        "00:00:00.000 --> 00:00:01.000\nhappy",
        "00:00:01.000 --> 00:00:02.000\nsad\n",
    ]


def test_the_subtitles_of_all_persons_name_each(shots: Page) -> None:
    shots.locator(".person-name").first.fill("A & <b>")
    assert content(shots, "#save-all-vtt").decode().split("\n\n") == [
        "WEBVTT",
        "00:00:00.000 --> 00:00:02.000\n<v A &amp; &lt;b&gt;>A &amp; &lt;b&gt;: happy",
        "00:00:02.000 --> 00:00:04.000\n<v Person 2>Person 2: sad\n",
    ]


def test_an_interval_is_wider_where_frames_are_alike(live_server: str, shared_page: Page) -> None:
    shared_page.goto(f"{live_server}/video")
    alternating, long = shared_page.evaluate(
        """async () => {
          const { summarize } = await import("/static/js/video/report.js");
          return [1, 40].map((period) => {
            const state = (index) => (index % (2 * period) < period ? "sad" : "happy");
            const sample = (_, index) => ({ index, time: index / 5, state: state(index) });
            return summarize(Array.from({ length: 400 }, sample), 5);
          });
        }"""
    )
    assert [each["share"] for each in long["shares"]] == [0.5, 0.5]
    assert (long["changes"], long["seen_s"], long["block_s"]) == (9, 80, 16)
    assert long["shares"][0]["longest_s"] == 8
    width, narrow = (
        each["shares"][0]["high"] - each["shares"][0]["low"] for each in (long, alternating)
    )
    assert width > 3 * narrow


def test_a_file_that_is_no_film_is_named_so(live_server: str, page: Page) -> None:
    page.goto(f"{live_server}/video")
    page.set_input_files("#file", {"name": "a.mp4", "mimeType": "video/mp4", "buffer": b"words"})
    expect(page.locator("#open-note")).to_contain_text("can't play this film")
    expect(page.locator("#film")).to_be_hidden()
