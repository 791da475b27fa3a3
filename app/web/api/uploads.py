"""Take an uploaded photo to the analyzer without it ever touching a disk."""

import io
from typing import IO, Any

from flask import Request, request
from werkzeug.datastructures import FileStorage, Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import MultipartDecoder

from app.errors import RautError
from app.settings import FORM_BYTES
from app.vision.budget import Budget
from app.vision.imaging.decoding import FORMATS
from app.vision.readings import Analysis
from app.web.api.model_selection import DETECTOR, LABELS, Choice, effort_of, model_names
from app.web.server.bridge import BUDGET
from app.web.server.logging import record_stages
from app.web.server.metrics import count_stages
from app.web.server.state import state

FIELD = "image"
# What file choosers offer; some systems know no type for the endings.
ACCEPTED = ",".join(
    [f"image/{name.lower()}" for name in FORMATS] + ["image/heif", ".heic", ".heif", ".avif"]
)


parse_strictly = MultipartDecoder._parse_headers


def _parse_headers(decoder: MultipartDecoder, data: bytes | bytearray) -> Headers:
    """Parse the head of a form's part; Werkzeug takes a form for empty whose names aren't UTF-8."""
    return parse_strictly(decoder, bytes(data).decode("utf-8", "replace").encode())


MultipartDecoder._parse_headers = _parse_headers  # type: ignore[method-assign,assignment]


class MemoryOnlyRequest(Request):
    """Keep uploads in memory: Werkzeug would write those above 500 kB to a temporary file."""

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        return io.BytesIO()


def analyze(data: bytes, choice: Choice) -> Analysis:
    """Analyze a photo with the models, effort and detector of a choice. Raises `RautError`."""
    analyzer = state().analyzer.with_detector(choice.get(DETECTOR))
    names, labels, effort = model_names(choice), choice.get(LABELS), effort_of(choice)
    analysis = analyzer.analyze_file(data, names, labels, effort, budget=request_budget())
    count_stages(analysis.timings_ms)
    record_stages(analysis.timings_ms)
    return analysis


def request_budget() -> Budget:
    """Return the budget of the current request, which the server cancels if the client leaves."""
    return request.environ.get(BUDGET) or Budget(state().settings.analysis_timeout)


def read_upload() -> bytes:
    """Return the content of the request's photo. Raises `RautError` where its form has none."""
    upload = find_upload(FIELD)
    if upload is None:
        raise RautError(
            "image_missing",
            f"The form has no file in a field named {FIELD!r}. Send one photo as "
            "multipart/form-data.",
            field=FIELD,
        )
    return upload.stream.read()


def find_upload(field: str) -> FileStorage | None:
    """Return a file of the request's form, if it has one.

    Raises `RautError` for one too large, and for several.
    """
    try:
        files = request.files.getlist(field)
    except RequestEntityTooLarge as error:
        raise _form_too_large() from error
    sizes = {upload: upload.stream.seek(0, io.SEEK_END) for upload in files}
    # A browser sends an unchosen file as one without name and content.
    uploads = [upload for upload, size in sizes.items() if upload.filename or size]
    if not uploads:
        return None
    if len(uploads) > 1:
        raise RautError(
            "image_several",
            f"The form has {len(uploads)} files in the field {field!r}. Send one photo in each "
            "request.",
            field=field,
        )
    (upload,) = uploads
    if sizes[upload] > state().settings.most_photo_bytes:
        raise _too_large()
    upload.stream.seek(0)
    return upload


def _form_too_large() -> RautError:
    """Refuse what Werkzeug stopped reading: a form over the limit, or a long field in one."""
    length = request.content_length
    if length is None or length > state().settings.most_body_bytes:
        return _too_large()
    return RautError(
        "field_too_large",
        f"A field of the form holds more than {FORM_BYTES // 1000} kB. Send the photo as a file, "
        "which has a file name, and shorten the other fields.",
        limit_kb=FORM_BYTES // 1000,
    )


def _too_large() -> RautError:
    limit = state().settings.max_upload_mb
    return RautError(
        "image_too_large",
        f"The upload is larger than {limit} MB. Send a smaller copy of the photo.",
        limit_mb=limit,
    )
