"""Take an uploaded photo to the analyzer without it ever touching a disk."""

import io
from typing import IO, Any

from flask import Request, current_app
from werkzeug.exceptions import RequestEntityTooLarge

from app.refusals import Refusal
from app.vision.analyzer import FaceAnalyzer
from app.vision.readings import Analysis

ANALYZER = "raut_analyzer"
FIELD = "image"


class MemoryOnlyRequest(Request):
    """Keep uploads in memory: Werkzeug would write those above 500 kB to a temporary file."""

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        """Give the form parser a place for one upload; MAX_CONTENT_LENGTH bounds it."""
        return io.BytesIO()


def current_analyzer() -> FaceAnalyzer:
    """Return the application's analyzer."""
    analyzer: FaceAnalyzer = current_app.extensions[ANALYZER]
    return analyzer


def analyze_upload(request: Request) -> Analysis:
    """Analyze the photo in a request's form, with the models and the effort that its form names.

    Raises `Refusal` where the form holds no photo or one that can't be read.
    """
    try:
        upload = request.files.get(FIELD)
    except RequestEntityTooLarge as error:
        raise _too_large() from error
    # A browser sends an unchosen file as one without name and content.
    if upload is None or (not upload.filename and not upload.stream.read(1)):
        raise Refusal(
            "image_missing",
            400,
            f"The form has no file in a field named {FIELD!r}. Send one photo as "
            "multipart/form-data.",
            field=FIELD,
        )
    upload.stream.seek(0)
    names = request.form.get("models")
    models = [name.strip() for name in names.split(",")] if names else None
    effort = request.form.get("effort") or current_app.config["EFFORT"]
    return current_analyzer().analyze_file(upload.stream.read(), models, effort)


def _too_large() -> Refusal:
    """Refuse an upload over the limit; Werkzeug stops reading there."""
    limit = current_app.config["MAX_UPLOAD_MB"]
    return Refusal(
        "image_too_large",
        413,
        f"The upload is larger than {limit} MB. Send a smaller copy of the photo.",
        limit_mb=limit,
    )
