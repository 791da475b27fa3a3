"""Photos, and the fixed answers with which a test is about the page alone."""

from io import BytesIO
from typing import Any

from PIL import Image
from playwright.sync_api import FilePayload, Page, Route

SERVICE = "**/api/v1/analyze"
ALL_EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def picture_file(picture: Any, name: str, **saving: Any) -> FilePayload:
    kind = "PNG" if name.endswith("png") else "JPEG"
    stream = BytesIO()
    Image.fromarray(picture).save(stream, kind, **saving)
    return {"name": name, "mimeType": f"image/{kind.lower()}", "buffer": stream.getvalue()}


def reading(label: str, probability: float, classes: tuple[str, ...], confident: bool) -> Any:
    rest = (1 - probability) / (len(classes) - 1)
    return {
        "label": label,
        "probability": probability,
        "confident": confident,
        "probabilities": {name: probability if name == label else rest for name in classes},
    }


def face(x: float, y: float, label: str = "happy", confident: bool = True, **more: Any) -> Any:
    return {
        "box": {"x": x, "y": y, "width": 100.0, "height": 100.0},
        "score": 0.98,
        "roll_degrees": 0.0,
        "expression": reading(label, 0.93 if confident else 0.4, ALL_EXPRESSIONS, confident),
        "gender": reading("female", 0.88, ("female", "male"), True),
        **more,
    }


def answer(*faces: Any, width: int = 512, height: int = 512) -> Any:
    return {
        "image": {"width": width, "height": height},
        "faces": list(faces),
        "timings_ms": {"decode": 3.2, "detect": 20.1, "classify": 11.9, "total": 35.4},
        "models": {"expression": "0123456789ab", "gender": "ba9876543210"},
    }


TWO_FACES = answer(face(170, 70), face(20, 300, "sad", confident=False, roll_degrees=20.0))


def answer_with(page: Page, body: Any, status: int = 200) -> None:
    """Answer every photo with this body, so that the test is about the page."""
    kind = "application/json" if status == 200 else "application/problem+json"

    def fulfil(route: Route) -> None:
        route.fulfill(json=body, status=status, content_type=kind)

    page.route(SERVICE, fulfil)


def choose(page: Page, photo: FilePayload) -> None:
    page.set_input_files("#image", [photo])
