"""Test that a wrong setting is refused; tests/test_docs.py tests that each is documented."""

import pytest
from pydantic import ValidationError

from app.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAUT_TRUSTED_PROXIES", "-1"),
        ("RAUT_RATE_LIMIT", "many"),
        ("RAUT_RATE_LIMIT_STORAGE", "somewhere"),
        ("RAUT_TOKENS", '{"lab": "the token itself"}'),
        ("RAUT_EFFORT", "heroic"),
        ("PORT", "http"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=f"(?i){name.removeprefix('RAUT_')}"):
        Settings()
