import ast
import re
from functools import cache
from pathlib import Path

import pytest

from app import __version__
from app.settings import Settings, variable_of
from docs.generate import DOCS, PAGES

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [*ROOT.glob("*.md"), *DOCS.glob("*.md")]
PACKAGES = ("app.", "bench.", "docs.", "tests.", "training.")
PATH = re.compile(r"[\w./-]+(?:/|\.(?:py|html|js|css|toml|po|md|conf|cfg|txt|yaml|service))")
CLASS_MEMBER = re.compile(r"[A-Z]\w+\.\w+")


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


@cache
def list_names(module: Path) -> frozenset[str]:
    """List what a module defines, without importing it: names, and Class.name."""
    names: set[str] = set()

    def add(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                add(node.body, f"{prefix}{node.name}.")
            targets = (
                node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            )
            names.update(prefix + each.id for each in targets if isinstance(each, ast.Name))

    add(ast.parse(module.read_text(encoding="utf-8")).body, "")
    return frozenset(names)


def is_defined(dotted: str) -> bool:
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:count])
        for module in (path.with_suffix(".py"), path / "__init__.py"):
            if module.is_file():
                rest = ".".join(parts[count:])
                return not rest or rest in list_names(module)
    return False


@pytest.mark.parametrize("page", ["architecture.md", "glossary.md"])
def test_names_in_code_style_exist(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    quoted = {found.removesuffix("()") for found in re.findall(r"`([^`\n]+)`", text)}
    paths = {name for name in quoted if PATH.fullmatch(name) and not name.startswith("/")}
    dotted = {name for name in quoted if name.startswith(PACKAGES)} - paths
    assert len(dotted) > 10
    defined = {name for module in ROOT.glob("[at]*/**/*.py") for name in list_names(module)}
    missing = {name for name in paths if not (ROOT / name).exists()}
    missing |= {name for name in dotted if not is_defined(name)}
    missing |= {name for name in quoted if CLASS_MEMBER.fullmatch(name)} - defined
    assert missing == set()


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
