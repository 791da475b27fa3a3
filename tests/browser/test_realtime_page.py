import json
import re
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import JSHandle, Locator, Page, Route, WebSocketRoute, expect

from tests.helpers.servers import started

from .helpers import (
    INDONESIAN,
    SERVICE,
    WITHOUT_SCRIPT,
    answer,
    console_of,
    content,
    expect_usable,
    expect_width,
    face,
    rows_of,
)

SOCKET = "**/api/v1/stream"

FIRST_COLOUR = (255, 207, 92)

# A browser on a network where sockets never open.
NO_SOCKETS = """
  window.WebSocket = class extends EventTarget {
    static OPEN = 1;
    static CONNECTING = 0;
    readyState = 3;
    constructor() {
      super();
      setTimeout(() => this.dispatchEvent(new CloseEvent("close", { code: 1006 })));
    }
    close() {}
  };
"""


class Server:
    """Stand in for the server's end of the socket, so that a test is about the page alone."""

    def __init__(self, page: Page, *faces: Any) -> None:
        self.faces = list(faces)
        self.frames = 0
        self.texts: list[Any] = []
        self.sockets: list[WebSocketRoute] = []
        self.mute = False
        self.problem: Any = None
        page.route_web_socket(SOCKET, self._open)

    def _open(self, route: WebSocketRoute) -> None:
        self.sockets.append(route)
        route.on_message(self._hear)

    def _hear(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.texts.append(json.loads(message))
        else:
            self.frames += 1
            self._read(message)

    def _read(self, frame: bytes) -> None:
        if self.problem:
            self.send(problem=self.problem)
        elif not self.mute:
            self.send(**answer(*self.faces, width=640, height=480))

    def send(self, **body: Any) -> None:
        self.sockets[-1].send(json.dumps({"frame": self.frames, "dropped": 0, **body}))

    def close(self, code: int, reason: str) -> None:
        self.sockets[-1].close(code=code, reason=reason)


def tracked(track: int, x: float, y: float, label: str = "happy", **more: Any) -> Any:
    return {"track": track, "detected": True, **face(x, y, label, **more)}


@pytest.fixture
def live(live_server: str, page: Page) -> Page:
    page.goto(f"{live_server}/realtime")
    return page


@pytest.fixture
def server(live: Page) -> Server:
    """The page live, with a server that finds one happy face in every frame."""
    return serve(live, tracked(1, 50, 100))


@pytest.fixture
def running(live: Page, server: Server) -> Page:
    return live


@pytest.fixture
def blocked(page: Page, live_server: str) -> str:
    """The page's address on a network that blocks sockets."""
    page.add_init_script(NO_SOCKETS)
    return f"{live_server}/realtime"


def begin(page: Page) -> None:
    page.click("#start")
    expect(page.locator("#state")).to_have_text("LIVE")


def serve(page: Page, *faces: Any, mute: bool = False) -> Server:
    """Answer each frame with these faces, and start the camera."""
    server = Server(page, *faces)
    server.mute = mute
    begin(page)
    return server


def state(page: Page) -> Locator:
    return page.locator("#state")


def message(page: Page) -> Locator:
    return page.locator("#message")


def cards(page: Page) -> Locator:
    return page.locator(".face-card")


def camera_is_on(page: Page) -> bool:
    on: bool = page.evaluate("document.getElementById('video').srcObject !== null")
    return on


def record(page: Page) -> None:
    """Record a few readings."""
    page.click("#record")
    expect(page.locator("#recorded")).to_have_text(re.compile(r" [1-9][\d,]* rows"))
    page.click("#record")


def texts_of(page: Page, identifier: str) -> JSHandle:
    """Return the list of texts that an element gets from now on."""
    return page.evaluate_handle(
        """(id) => {
          const [element, texts] = [document.getElementById(id), []];
          const observer = new MutationObserver(() => texts.push(element.textContent));
          observer.observe(element, { subtree: true, childList: true });
          return texts;
        }""",
        identifier,
    )


def let_pass(page: Page, seconds: float) -> None:
    """Let the camera go on by its own clock."""
    played = page.evaluate("() => document.getElementById('video').currentTime")
    page.wait_for_function(
        "(aim) => document.getElementById('video').currentTime > aim", arg=played + seconds
    )


def test_the_privacy_notice_precedes_the_camera(live: Page) -> None:
    before = live.locator("#before")
    expect(before).to_contain_text("Your camera's frames go to this server's memory")
    expect(before).to_contain_text("Nothing is kept")
    expect(before).to_contain_text("Article 50(3)")
    expect(live.locator("#live")).to_be_hidden()
    assert not camera_is_on(live)


def test_the_real_server_reads_the_camera_within_the_content_security_policy(live: Page) -> None:
    said = console_of(live)
    live.reload()
    begin(live)
    expect(cards(live).first.locator(".face-label")).to_have_text("happy")
    expect(cards(live).first.locator(".bars-of-expression li")).to_have_count(7)
    expect(live.locator("#rate")).not_to_have_text("–")
    expect(live.locator("#delay")).to_contain_text("ms")
    expect(message(live)).to_contain_text("Live.")
    content(live, "#snapshot")
    assert said == []


def test_each_face_keeps_its_card_number_and_colour(live: Page) -> None:
    server = serve(live, tracked(1, 50, 100), tracked(2, 400, 100, "sad"))
    expect(cards(live)).to_have_count(2)
    second = cards(live).nth(1)
    colour = second.get_attribute("style")
    server.faces = [tracked(2, 390, 110, "sad"), tracked(3, 60, 100, "angry")]
    expect(cards(live).locator(".face-number")).to_have_text(["2", "3"])
    expect(cards(live).first.locator(".face-label")).to_have_text("sad")
    assert cards(live).first.get_attribute("style") == colour


def test_an_unsure_reading_a_held_label_and_no_face_are_shown_as_such(live: Page) -> None:
    server = serve(live, tracked(1, 50, 100, "sad", confident=False))
    expect(cards(live).locator(".face-label")).to_have_text("unsure")
    expect(cards(live).locator(".answered")).to_have_text("female88%")
    why = cards(live).locator(".why-unsure")
    expect(why).to_have_text("40% sad: below the 69% that this model needs.")
    held = tracked(1, 50, 100)
    held["expression"]["probability"] = 0.3
    held["expression"]["probabilities"] |= {"happy": 0.3, "sad": 0.65}
    server.faces = [held]
    expect(cards(live).locator(".face-label")).to_have_text("happy")
    expect(cards(live).locator(".face-probability")).to_have_text("")
    server.faces = []
    expect(live.locator("#no-face")).to_contain_text("come closer")
    expect(cards(live)).to_have_count(0)


def test_one_frame_is_in_flight_and_dropped_frames_are_counted(live: Page) -> None:
    server = serve(live, tracked(1, 50, 100), mute=True)
    expect(message(live)).to_contain_text("Live.")  # The socket is open.
    let_pass(live, 0.5)
    assert server.frames == 1
    server.mute = False
    server.send(**answer(width=640, height=480))
    expect(live.locator("#skipped")).to_contain_text("%")


def test_without_answers_the_badge_says_reconnecting_and_for_how_long(live: Page) -> None:
    server = serve(live, tracked(1, 50, 100))
    expect(cards(live)).to_have_count(1)
    server.mute = True
    expect(state(live)).to_have_text(re.compile(r"RECONNECTING, [23] s"))
    expect(live.locator("#view")).to_be_in_viewport()
    server.send(**answer(width=640, height=480))
    server.mute = False
    expect(state(live)).to_have_text("LIVE")


def test_the_button_pauses_and_resumes(live: Page, server: Server) -> None:
    expect(cards(live)).to_have_count(1)
    live.click("#pause")
    expect(state(live)).to_have_text("PAUSED")
    expect(message(live)).to_contain_text("nothing is sent")
    assert camera_is_on(live)
    sent = server.frames
    let_pass(live, 0.5)
    assert server.frames <= sent + 1
    live.get_by_role("button", name="Resume").click()
    expect(state(live)).to_have_text("LIVE")
    expect(message(live)).to_contain_text("Live.")


def test_shortcuts_pause_resume_and_stop_while_the_view_has_the_focus(running: Page) -> None:
    expect(running.locator("#view")).to_be_focused()
    running.focus("#smoothing")
    running.keyboard.press("Escape")
    expect(state(running)).to_have_text("LIVE")
    running.focus("#view")
    running.keyboard.press("Space")
    expect(state(running)).to_have_text("PAUSED")
    running.keyboard.press("Space")
    expect(state(running)).to_have_text("LIVE")
    running.keyboard.press("Escape")
    expect(state(running)).to_have_text("STOPPED")
    assert not camera_is_on(running)


def test_leaving_the_tab_pauses(running: Page) -> None:
    running.evaluate(
        """() => {
          Object.defineProperty(document, "hidden", { value: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(state(running)).to_have_text("PAUSED")
    expect(message(running)).to_contain_text("because you left this tab")


def test_stopping_releases_the_camera_and_starting_again_works(running: Page) -> None:
    expect(cards(running)).to_have_count(1)
    track = running.evaluate_handle("document.getElementById('video').srcObject.getTracks()[0]")
    running.click("#stop")
    expect(state(running)).to_have_text("STOPPED")
    expect(cards(running)).to_have_count(0)
    assert track.evaluate("(track) => track.readyState") == "ended"
    running.click("#again")
    expect(state(running)).to_have_text("LIVE")
    expect(cards(running)).to_have_count(1)


def test_a_camera_that_is_unplugged_stops_the_page(running: Page) -> None:
    running.evaluate(
        """() => {
          const [track] = document.getElementById("video").srcObject.getTracks();
          track.dispatchEvent(new Event("ended"));
        }"""
    )
    expect(state(running)).to_have_text("STOPPED")
    expect(message(running)).to_contain_text("The camera is no longer available")


PERMANENT = [
    (1008, "foreign_origin", "only from its own pages"),
    (1009, "message_too_large", "frames of at most 2 MB"),
    (1008, "too_many_faults", "could not read this camera's frames"),
    (1002, "protocol_error", "The connection was corrupted"),
]
TRANSIENT = [
    (1001, "server_stops", "The server is restarting. Trying again in"),
    (1013, "too_many_streams", "All live streams of this server are in use. Trying again in"),
    (1008, "silent", "silent for too long. Trying again in"),
    (3000, "", "The connection to the server was lost. Trying again in"),
    (4000, "a_reason_of_tomorrow", "The connection to the server was lost. Trying again in"),
]


def test_a_permanent_close_code_pauses_with_the_reason(live: Page, server: Server) -> None:
    for code, reason, sentence in PERMANENT:
        expect(cards(live)).to_have_count(1)
        server.close(code, reason)
        expect(message(live)).to_contain_text(sentence)
        expect(state(live)).to_have_text("PAUSED")
        live.get_by_role("button", name="Resume").click()
        expect(state(live)).to_have_text("LIVE")


def test_a_passing_close_code_is_shown_and_the_page_reconnects(live: Page, server: Server) -> None:
    expect(cards(live)).to_have_count(1)
    for sockets, (code, reason, sentence) in enumerate(TRANSIENT, start=2):
        said = texts_of(live, "message-text")
        server.close(code, reason)
        live.wait_for_function("(said) => said.at(-1)?.startsWith('Live.')", arg=said)
        assert any(sentence in each for each in said.json_value())
        assert len(server.sockets) == sockets
        expect(state(live)).to_have_text("LIVE")


def test_reconnection_backs_off_exponentially(live: Page) -> None:
    server = serve(live, tracked(1, 50, 100), mute=True)
    for seconds in (1, 1, 2, 4):
        expect(message(live)).to_contain_text("Live.")
        server.close(4000, "a_reason_of_tomorrow")
        expect(message(live)).to_contain_text(f"Trying again in {seconds} s")


def test_a_new_socket_resets_track_numbers_and_timelines(live: Page, server: Server) -> None:
    expect(live.locator("#timeline-summary")).to_contain_text("mostly happy")
    for _ in range(9):  # so that "happy" would stay the most frequent
        let_pass(live, 0.2)
    server.faces = [tracked(1, 300, 100, "sad")]
    server.close(1001, "server_stops")
    expect(live.locator("#timeline-summary")).to_contain_text("mostly sad, >99%", timeout=15_000)


def test_without_sockets_frames_are_sent_one_by_one_as_photos(blocked: str, page: Page) -> None:
    under_way = 0
    most = 0
    count = 0

    def fulfil(route: Route) -> None:
        nonlocal under_way, most, count
        under_way += 1
        most = max(most, under_way)
        count += 1
        route.fulfill(json=answer(face(200 + count, 100), width=640, height=480))
        under_way -= 1

    page.route(SERVICE, fulfil)
    page.goto(blocked)
    begin(page)
    expect(message(page)).to_contain_text("Live connections are blocked")
    expect(cards(page).locator(".face-number")).to_have_text("1")
    expect(page.locator("#rate")).not_to_have_text("–")
    assert most == 1
    assert count > 1


def test_failed_photo_requests_are_retried(blocked: str, page: Page) -> None:
    page.route(SERVICE, lambda route: route.abort(), times=1)
    page.goto(blocked)
    begin(page)
    expect(message(page)).to_contain_text("The connection to the server was lost. Trying again in")
    expect(cards(page).first).to_be_visible()
    expect(message(page)).to_contain_text("Live connections are blocked")


def test_a_rejected_frame_shows_its_error_and_the_next_is_sent(live: Page) -> None:
    server = serve(live, tracked(1, 50, 100), mute=True)
    let_pass(live, 0.3)
    server.mute = False
    server.send(problem={"code": "image_unreadable", "status": 422, "detail": ""})
    expect(message(live)).to_contain_text("could not be opened as a picture")
    expect(cards(live)).to_have_count(1)


def test_an_unavailable_inference_server_is_retried_after_its_retry_after(live: Page) -> None:
    server = serve(live, tracked(1, 100, 200))
    expect_colour(live, 640 - 100, 250)
    server.problem = {"code": "inference_unavailable", "detail": "", "retry_after": 4}
    expect(message(live)).to_contain_text("does not respond at the moment")
    expect_colour(live, 640 - 100, 250, there=False)
    refused = server.frames
    let_pass(live, 1)
    assert server.frames == refused
    server.problem = None
    expect(message(live)).to_contain_text("Live. Each frame", timeout=15_000)
    assert server.frames > refused
    expect(state(live)).to_have_text("LIVE")


def test_the_stream_has_the_slider_s_smoothing_and_the_visitor_s_choice_of_models(
    live_server: str, page: Page
) -> None:
    server = Server(page, tracked(1, 50, 100))
    page.goto(f"{live_server}/realtime?models=expression&label_set=original")
    begin(page)
    expect(cards(page)).to_have_count(1)
    page.locator("#smoothing").fill("1")
    expect(page.locator("#smoothing-value")).to_have_text("1 s")
    let_pass(page, 0.3)
    choice = {"models": "expression", "label_set": "original"}
    assert server.texts == [{"smoothing_seconds": seconds, **choice} for seconds in (0.2, 1)]


def test_the_photo_fallback_uses_the_visitor_s_choice_of_models(blocked: str, page: Page) -> None:
    page.goto(f"{blocked}?models=expression")
    begin(page)
    expect(cards(page).first.locator(".face-label")).to_have_text("happy")
    expect(cards(page).first.locator(".bars-of-gender li")).to_have_count(0)


def expect_colour(page: Page, x: int, y: int, there: bool = True) -> None:
    """Wait until the first face's colour is at a place of the 640 by 480 frame, or isn't."""
    page.wait_for_function(
        """([x, y, colour, there]) => {
          const canvas = document.getElementById("canvas");
          const scale = canvas.width / 640;
          const { data } = canvas.getContext("2d").getImageData(x * scale, y * scale, 1, 1);
          return there === colour.every((value, index) => Math.abs(value - data[index]) < 12);
        }""",
        arg=[x, y, FIRST_COLOUR, there],
    )


@pytest.mark.parametrize("locked", [True, False])
def test_the_mirror_flips_the_view_and_not_the_data(live: Page, locked: bool) -> None:
    serve(live, tracked(1, 100, 200))
    live.set_checked("#locked", locked)
    expect(cards(live)).to_have_count(1)
    expect_colour(live, 640 - 100, 250)
    live.uncheck("#mirrored")
    expect_colour(live, 100, 250)
    record(live)
    recorded = json.loads(content(live, "#recordings [value=json]"))
    assert {each["box"]["x"] for each in recorded["readings"]} == {100}


def test_a_face_is_chosen_by_its_card_and_by_its_box(live: Page) -> None:
    serve(live, tracked(1, 50, 100), tracked(2, 400, 100, "sad"))
    expect(live.locator("#timeline-face")).to_have_text("Face 1")
    cards(live).nth(1).get_by_role("button").click()
    expect(live.locator("#timeline-face")).to_have_text("Face 2")
    expect(cards(live).nth(1).get_by_role("button")).to_have_attribute("aria-pressed", "true")
    canvas = live.locator("#canvas").bounding_box()
    assert canvas
    scale = canvas["width"] / 640
    # Face 1 is at the left, and the view is mirrored.
    live.locator("#canvas").click(position={"x": (640 - 100) * scale, "y": 150 * scale})
    expect(live.locator("#timeline-face")).to_have_text("Face 1")


def test_the_timeline_shows_the_selected_face_and_hides_classes(running: Page) -> None:
    classes = running.locator("#classes button")
    expect(classes).to_have_count(7)
    classes.first.click()
    expect(classes.first).to_have_attribute("aria-pressed", "false")
    expect(running.locator("#timeline-summary")).to_contain_text("mostly happy")
    happy = classes.nth(3).locator("output")
    expect(happy).to_have_text("93%")
    timeline = running.locator("#timeline")
    timeline.hover(position={"x": timeline.evaluate("each => each.clientWidth") - 5, "y": 50})
    expect(happy).to_have_text("93%")  # beside the names, which is now
    timeline.hover(position={"x": 60, "y": 50})  # a minute ago
    expect(happy).to_have_text("–")


def test_a_snapshot_is_the_analysed_frame_with_its_boxes(live: Page) -> None:
    serve(live, tracked(1, 100, 200))
    expect(cards(live)).to_have_count(1)
    picture = Image.open(BytesIO(content(live, "#snapshot"))).convert("RGB")
    assert picture.size == (640, 480)
    assert picture.getpixel((100, 250)) == FIRST_COLOUR


def test_a_recording_has_readings_models_and_settings(live: Page) -> None:
    serve(live, tracked(1, 50, 100), tracked(2, 400, 100, "sad"))
    live.click("#record")
    live.get_by_label("Word for the next mark").fill("joke")
    live.locator("#view").press("e")
    expect(live.locator("#recorded")).to_have_text(re.compile(r"0:0\d · [\d,]+ rows · marks: 1"))
    live.get_by_role("button", name="Stop recording").click()
    saved = content(live, "#recordings [value=csv]")
    everything = rows_of(saved)
    (mark,) = (row for row in everything if row["mark"])
    assert mark["mark"] == "joke"
    assert float(everything[0]["seconds"]) <= float(mark["seconds"]) < 10
    rows = [row for row in everything if not row["mark"]]
    assert {row["track"] for row in rows} == {"1", "2"}
    assert {row["expression_label"] for row in rows} == {"happy", "sad"}
    assert float(rows[0]["expression_probabilities_happy"]) == 0.93
    recorded = json.loads(content(live, "#recordings [value=json]"))
    assert len(recorded["readings"]) == len(rows)
    about = recorded["about"]
    assert about["models"] == {"expression": "0123456789ab", "gender": "ba9876543210"}
    assert about["settings"]["smoothing_seconds"] == 0.2
    assert about["time_zone"]
    assert f"# time_zone: {about['time_zone']}" in saved.decode().splitlines()


def test_no_recording_is_lost_silently(running: Page) -> None:
    record(running)
    record(running)
    expect(running.locator("#recordings li")).to_have_count(2)
    first = running.locator("#recordings li").last
    first.get_by_role("button", name="Delete").click()
    expect(first).to_contain_text("Deleted")
    first.get_by_role("button", name="Undo").click()
    with running.expect_event("dialog") as asked:
        running.evaluate("setTimeout(() => location.assign('/about'))")
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()
    for take in running.locator("#recordings [value=csv]").all():
        take.click()
    running.goto("about:blank")


def test_full_screen_keeps_the_keys_and_shows_pause_and_exit(running: Page) -> None:
    running.click("#full-screen")
    running.wait_for_function("() => document.fullscreenElement")
    expect(running.locator("#rate")).to_be_in_viewport()
    running.keyboard.press("Space")
    expect(state(running)).to_have_text("PAUSED")
    running.get_by_role("button", name="Resume").click()
    running.get_by_role("button", name="Exit full screen").click()
    running.wait_for_function("() => !document.fullscreenElement")
    expect(state(running)).to_have_text("LIVE")


def test_a_phone_held_sideways_shows_the_cards_beside_the_picture(running: Page) -> None:
    running.set_viewport_size({"width": 844, "height": 390})
    expect(cards(running)).to_have_count(1)
    view, card = (running.locator(each).bounding_box() for each in ("#view", ".face-card"))
    assert view
    assert card
    assert card["x"] >= view["x"] + view["width"]


def test_screen_reader_announcements_are_throttled(live: Page, server: Server) -> None:
    spoken = texts_of(live, "announcement")
    expect(live.locator("#announcement")).to_have_text("Face 1: happy")
    for label in ("sad", "angry", "fear"):
        server.faces = [tracked(1, 50, 100, label)]
        expect(cards(live).locator(".face-label")).to_have_text(label)
    assert len(spoken.json_value()) <= 1
    assert server.frames > 3


@WITHOUT_SCRIPT
def test_without_javascript_the_page_links_to_the_photo_page(live: Page) -> None:
    expect(live.get_by_role("heading", level=1)).to_have_text("See what faces show, as they move")
    expect(live.locator("#before")).to_contain_text("The camera needs JavaScript")
    expect(live.locator("#start")).to_be_hidden()


@INDONESIAN
def test_an_indonesian_browser_gets_indonesian(live: Page) -> None:
    Server(live, tracked(1, 50, 100))
    expect(live.locator("#start")).to_have_text("Nyalakan kamera")
    live.click("#start")
    expect(state(live)).to_have_text("AKTIF")
    expect(cards(live).locator(".face-label")).to_have_text("senang")
    expect_width(live, 320)


def test_every_state_is_accessible_and_fits_a_narrow_phone(live: Page) -> None:
    expect_usable(live)
    serve(live, tracked(1, 50, 100), tracked(2, 400, 300, "sad", confident=False))
    expect(cards(live)).to_have_count(2)
    expect_usable(live)
    record(live)
    expect_usable(live)
    for button in ("#pause", "#stop"):
        live.click(button)
        expect_usable(live)


def test_without_a_camera_the_page_is_accessible_and_fits_a_narrow_phone(live: Page) -> None:
    live.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false })")
    live.click("#start")
    expect(message(live)).to_be_visible()
    expect_usable(live)


def test_the_page_reconnects_after_a_server_restart(page: Page) -> None:
    with started() as first:
        port = first.port
        page.goto(f"http://{first.netloc}/realtime")
        begin(page)
        expect(cards(page)).to_have_count(1)
    expect(message(page)).to_contain_text("Trying again in")
    expect(state(page)).to_contain_text("RECONNECTING")
    with started(PORT=str(port)):
        expect(message(page)).to_contain_text("Live.", timeout=30_000)
        expect(cards(page)).to_have_count(1)
        expect(state(page)).to_have_text("LIVE")
