"""Give tests the real application, its client, and real pictures."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.settings import Settings
from app.vision.pipeline import FaceAnalyzer
from tests.helpers.cards import copy_face_models
from tests.helpers.servers import serving

# The suite asks more often than one client may.
os.environ["RAUT_RATE_LIMIT"] = ""


def pytest_addoption(parser: pytest.Parser) -> None:
    words = "Broken pictures to try, and photos of two users at once."
    parser.addoption("--fuzz-count", type=int, default=200, help=words)


@pytest.fixture(scope="session")
def fuzz_count(request: pytest.FixtureRequest) -> int:
    """How many broken pictures are tried."""
    count: int = request.config.getoption("--fuzz-count")
    return count


@pytest.fixture(scope="session")
def analyzer() -> FaceAnalyzer:
    return FaceAnalyzer.load("models")


@pytest.fixture(scope="module")
def loaded_models(analyzer: FaceAnalyzer) -> Iterator[None]:
    """Have a module's applications, which differ in other settings, share the loaded models."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("app.web.factory.load_analyzer", lambda *_, **__: analyzer)
        yield


@pytest.fixture(scope="session")
def app() -> Flask:
    return create_app(Settings())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the served models of faces, to be changed."""
    copy_face_models(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture(scope="session")
def live_server(app: Flask) -> Iterator[str]:
    with serving(app) as address:
        yield address
