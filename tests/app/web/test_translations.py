from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[3]
KEYWORDS = {**DEFAULT_KEYWORDS, "lazy_gettext": None}
METHODS = [("app/**.py", "python"), ("templates/**.html", "jinja2.ext:babel_extract")]


def catalogue() -> Catalog:
    with (ROOT / "translations/id/LC_MESSAGES/messages.po").open("rb") as stream:
        return read_po(stream, "id")


def sentences() -> list[Message]:
    return [message for message in catalogue() if message.id]


def is_complete(message: Message) -> bool:
    forms = [message.string] if isinstance(message.string, str) else message.string or [""]
    return all(forms)


def test_every_sentence_of_the_source_is_in_the_catalogue() -> None:
    known = catalogue()
    wanted = {found[2] for found in extract_from_dir(ROOT, METHODS, keywords=KEYWORDS)}
    assert [sentence for sentence in wanted if sentence not in known] == []


def test_no_translation_is_missing_or_fuzzy() -> None:
    assert [m.id for m in sentences() if m.fuzzy or not is_complete(m)] == []


def test_no_translation_loses_a_place_to_fill() -> None:
    # The catalogue's own check compares the placeholders of both sides.
    known = catalogue()
    assert [(m.id, faults) for m in sentences() if (faults := list(m.check(known)))] == []


def test_nothing_is_translated_that_no_page_says() -> None:
    wanted = {found[2] for found in extract_from_dir(ROOT, METHODS, keywords=KEYWORDS)}
    keys = {m.id if isinstance(m.id, str) else tuple(m.id) for m in sentences()}
    assert keys - {tuple(w) if isinstance(w, tuple) else w for w in wanted} == set()
