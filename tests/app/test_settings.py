"""Test that every setting is told of, and a wrong one refused."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
OWN = [name for name, field in Settings.model_fields.items() if not field.validation_alias]


@pytest.mark.parametrize("name", OWN)
def test_every_setting_is_named_in_the_readme_and_explained(name: str) -> None:
    assert f"`RAUT_{name.upper()}`" in (ROOT / "README.md").read_text()
    assert len(Settings.model_fields[name].description or "") > 20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAUT_TRUSTED_PROXIES", "-1"),
        ("RAUT_RATE_LIMIT", "many"),
        ("RAUT_RATE_LIMIT_STORAGE", "somewhere"),
        ("RAUT_TOKENS", '{"lab": "the token itself"}'),
        ("RAUT_EFFORT", "heroic"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("RAUT_").lower()):
        Settings()
