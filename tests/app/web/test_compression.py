import gzip
import posixpath
import re

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

GZIP = {"Accept-Encoding": "gzip, br"}
FIRST_VISIT_LIMIT = 120_000


def get(client: FlaskClient, path: str, **headers: str) -> TestResponse:
    """Return an answer whose file is closed."""
    return client.get(path, headers=headers, buffered=True)


def test_the_photo_page_and_its_files_are_small_over_the_wire(client: FlaskClient) -> None:
    page = get(client, "/", **GZIP)
    names = re.findall(r'(?:href|src)="(/[^"]*static/[^"]+)"', gzip.decompress(page.data).decode())
    assert len(names) > 3
    wanted = [name.split("?")[0] for name in names]
    for name in wanted:
        # The modules that a script imports come too; the list grows while it is walked.
        script = get(client, name).get_data(as_text=True) if name.endswith(".js") else ""
        for found in re.findall(r'from "([^"]+\.js)"', script):
            path = posixpath.normpath(f"{posixpath.dirname(name)}/{found}")
            if path not in wanted:
                wanted.append(path)
    answers = [get(client, name, **GZIP) for name in wanted]
    assert len(answers) > 15
    assert {answer.status_code for answer in answers} == {200}
    assert len(page.data) + sum(len(answer.data) for answer in answers) < FIRST_VISIT_LIMIT


def test_a_compressed_file_is_the_file_and_is_revalidated(client: FlaskClient) -> None:
    plain = get(client, "/static/css/raut.css")
    assert "Content-Encoding" not in plain.headers
    packed = get(client, "/static/css/raut.css", **GZIP)
    assert gzip.decompress(packed.data) == plain.data
    assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
    seen = {"If-None-Match": packed.headers["ETag"]}
    again = get(client, "/static/css/raut.css", **GZIP, **seen)
    assert again.status_code == 304


def test_the_api_answers_as_it_is_and_an_icon_is_there(client: FlaskClient) -> None:
    assert "Content-Encoding" not in get(client, "/api/v1/models", **GZIP).headers
    assert get(client, "/favicon.ico").mimetype == "image/svg+xml"
