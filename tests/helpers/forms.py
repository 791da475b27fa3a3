"""Send forms as browsers do, and the photos in them."""

import io
from typing import Any

import numpy as np
import skimage.data
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart


def encode(picture: np.ndarray | Image.Image, form: str = "PNG", **saving: Any) -> bytes:
    stream = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(stream, form, **saving)
    return stream.getvalue()


ASTRONAUT: np.ndarray = skimage.data.astronaut()  # a photo of one face, RGB
ASTRONAUT_PNG = encode(ASTRONAUT)


def analyze(client: FlaskClient, photo: bytes, **form: str) -> TestResponse:
    return post(client, "/api/v1/analyze", {"image": photo}, **form)


def post(client: FlaskClient, address: str, photos: dict[str, bytes], **form: Any) -> TestResponse:
    files = {field: FileStorage(io.BytesIO(data), f"{field}.png") for field, data in photos.items()}
    # The client's own form encoding would leave a large body in a temporary file.
    boundary, body = encode_multipart({**files, **form})
    content_type = f"multipart/form-data; boundary={boundary}"
    return client.post(address, data=body, content_type=content_type)
