"""Send forms as browsers do."""

import io
from typing import Any

from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart


def post(client: FlaskClient, address: str, photos: dict[str, bytes], **form: Any) -> TestResponse:
    files = {field: FileStorage(io.BytesIO(data), f"{field}.png") for field, data in photos.items()}
    # The client's own form encoding would leave a large body in a temporary file.
    boundary, body = encode_multipart({**files, **form})
    content_type = f"multipart/form-data; boundary={boundary}"
    return client.post(address, data=body, content_type=content_type)
