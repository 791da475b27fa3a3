"""Expect what is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.errors import RautError


@contextmanager
def refused(code: str, match: str | None = None, **extensions: Any) -> Iterator[None]:
    """Expect an error of a code, with these extensions among its own."""
    with pytest.raises(RautError, match=match) as caught:
        yield
    assert caught.value.code == code
    assert caught.value.extensions.items() >= extensions.items()
