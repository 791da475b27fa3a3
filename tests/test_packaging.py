import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import setup
from app.paths import DATA, MODELS, STUDIES

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `app` folder of a wheel: its data, and the module that finds it."""
    package = tmp_path_factory.mktemp("site") / "app"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.copy(ROOT / "app" / "paths.py", package)
    setup.copy_data(package)
    return package


@pytest.mark.parametrize(
    "name",
    [
        *("models/expression/card.json", "models/expression/model.onnx", "templates/base.html"),
        *("static/js/photo/page.js", "static/css/raut.css", "CITATION.cff", "gunicorn.conf.py"),
        "translations/id/LC_MESSAGES/messages.mo",
    ],
)
def test_the_wheel_holds_the_data_beside_the_package(package: Path, name: str) -> None:
    assert (package / name).stat().st_size > 0


def test_paths_lead_into_the_checkout_or_the_installed_package(package: Path) -> None:
    assert (DATA, MODELS, STUDIES) == (ROOT, ROOT / "models", ROOT / "training" / "results")
    code = "from app import paths; print(paths.DATA)"
    found = subprocess.check_output([sys.executable, "-c", code], cwd=package.parent, text=True)
    assert Path(found.strip()) == package


def test_the_metadata_name_the_command_and_files_that_exist() -> None:
    assert PROJECT["project"]["scripts"] == {"raut": "app.__main__:cli"}
    dynamic = PROJECT["tool"]["setuptools"]["dynamic"]
    assert set(PROJECT["project"]["dynamic"]) == set(dynamic)
    extras = dynamic["optional-dependencies"]
    assert set(extras) == {"train", "gpu", "archive", "films", "remote"}
    for listed in (dynamic["dependencies"], *extras.values()):
        files = listed["file"]
        for file in [files] if isinstance(files, str) else files:
            assert "-r " not in (ROOT / file).read_text(encoding="utf-8")
    for name, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        for pattern in patterns:
            assert list((ROOT / name).glob(pattern)), pattern
