"""Choose the precision that layers compute in."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def compute_in(precision: str) -> Iterator[None]:
    """Let the layers that are built inside the `with` block compute in a precision.

    `precision` is "float32", or "mixed_bfloat16" with weights kept in float32.
    """
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)
