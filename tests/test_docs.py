"""The generated pages of docs/ are up to date, and the files that name the version agree."""

import re
from pathlib import Path

import pytest

from app import __version__
from app.settings import Settings, variable_of
from docs.generate import DOCS, PAGES

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", PAGES)
def test_generated_pages_are_up_to_date(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == PAGES[name](), f"docs/{name} is stale: run `make docs` and commit it"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"| `{variable_of(name)}` |" in (DOCS / "settings.md").read_text(encoding="utf-8")
    assert len(Settings.model_fields[name].description or "") > 20


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("CITATION.cff", r"^version: (.+)$"), ("CHANGELOG.md", r"^## \[(\d.+?)\]")],
)
def test_files_name_the_same_version(file: str, pattern: str) -> None:
    found = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    assert found[1] == __version__


@pytest.mark.parametrize("page", ["architecture.md", "glossary.md"])
def test_every_module_and_file_named_in_the_docs_exists(page: str) -> None:
    for name in re.findall(r"`((?:app|training|bench)\.[\w.]+)", (DOCS / page).read_text("utf-8")):
        parts = name.split(".")
        files = [ROOT.joinpath(*parts[:end]) for end in range(len(parts), 1, -1)]
        found = next(path for path in files if path.is_dir() or path.with_suffix(".py").is_file())
        below = parts[len(found.relative_to(ROOT).parts) :]
        source = found.with_suffix(".py").read_text("utf-8") if below else ""
        assert all(re.search(rf"\b(class|def) {each}\b", source) for each in below), name
    for path in re.findall(r"`([\w/.-]+/[\w./-]+)`", (DOCS / page).read_text("utf-8")):
        if not path.isupper() and "NAME" not in path and "CODE" not in path:
            assert (ROOT / path).exists(), path
