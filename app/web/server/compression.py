"""Compress pages, style sheets and scripts with gzip.

Answers of the API stay as they are: a few kB, which would cost the time of a photo's classifier.
"""

import gzip
from functools import lru_cache

from flask import Response, request

TYPES = frozenset({"text/html", "text/css", "text/javascript", "image/svg+xml"})
LEAST_BYTES = 1000  # less fits into the first packet anyway
PAGE_LEVEL = 5  # about 1 ms for a page
FILE_LEVEL = 9  # once for each process


def compress(response: Response) -> Response:
    """Compress what is worth it for browsers that take gzip."""
    if response.mimetype not in TYPES or response.status_code != 200:
        return response
    response.vary.add("Accept-Encoding")
    if request.method == "HEAD" or not request.accept_encodings["gzip"]:
        return response
    response.direct_passthrough = False  # a file, which would be sent as it is
    content = response.get_data()
    if len(content) < LEAST_BYTES:
        return response
    is_file = (request.endpoint or "").endswith("static")
    response.set_data(_compress_file(content) if is_file else gzip.compress(content, PAGE_LEVEL))
    response.content_encoding = "gzip"
    response.headers.pop("Accept-Ranges", None)
    etag, _ = response.get_etag()
    if etag:
        # The same file in another coding is equivalent, and not equal byte for byte.
        response.set_etag(etag, weak=True)
    return response


@lru_cache(maxsize=128)
def _compress_file(content: bytes) -> bytes:
    return gzip.compress(content, FILE_LEVEL, mtime=0)
