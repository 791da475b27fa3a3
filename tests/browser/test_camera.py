import pytest
from playwright.sync_api import Page, expect

INSECURE = "Object.defineProperty(window, 'isSecureContext', { value: false })"
DENY = "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{}'))"


REASONS = {
    DENY.format("NotAllowedError"): "The browser did not allow the camera.",
    DENY.format("NotFoundError"): "No camera was found on this device.",
    DENY.format("NotReadableError"): "another program may be using it",
    INSECURE: "only to pages over HTTPS",
}


@pytest.mark.parametrize(
    ("address", "button", "message"),
    [("/", "#snap", "#camera-message"), ("/realtime", "#start", "#message")],
)
def test_a_camera_error_is_reported_with_its_reason(
    live_server: str, page: Page, address: str, button: str, message: str
) -> None:
    page.goto(live_server + address)
    for script, sentence in REASONS.items():
        page.evaluate(f"() => {{ {script} }}")
        page.click(button)
        expect(page.locator(message)).to_contain_text(sentence)
        if address == "/":
            expect(page.locator("#camera-take")).to_be_disabled()
            page.keyboard.press("Escape")
        else:
            expect(page.locator(message).get_by_role("link")).to_have_attribute("href", "/")
            expect(page.locator("#start")).to_be_visible()
