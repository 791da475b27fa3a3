from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.vision.budget import Budget
from app.vision.explain.explanation import Explainer
from app.vision.live import LiveReader
from app.vision.pipeline import FaceAnalyzer
from bench.moving import encode_frame
from tests.helpers.errors import refused
from tests.helpers.forms import ASTRONAUT


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encode_frame(np.ascontiguousarray(ASTRONAUT[:256, 96:352]))


class CountedBudget(Budget):
    """Be cancelled at one of its checks."""

    def __init__(self, last: float = np.inf) -> None:
        super().__init__()
        self.checks = 0
        self._last = last

    def check(self) -> None:
        self.checks += 1
        if self.checks > self._last:
            self.cancel()
        super().check()


def interfaces(analyzer: FaceAnalyzer) -> dict[str, Callable[..., Any]]:
    return {
        "photo": lambda data, budget: analyzer.analyze_file(data, effort="thorough", budget=budget),
        "frame": lambda data, budget: LiveReader(analyzer, 1.0).read_frame(data, budget),
        "steps": lambda data, budget: Explainer(analyzer).explain(
            data, "expression", budget=budget
        ),
    }


@pytest.mark.parametrize("interface", ["photo", "frame", "steps"])
def test_analyses_end_at_any_check(analyzer: FaceAnalyzer, photo: bytes, interface: str) -> None:
    read = interfaces(analyzer)[interface]
    whole = CountedBudget()
    read(photo, whole)
    assert whole.checks > 10
    for last in range(0, whole.checks, 1 + whole.checks // 12):
        with refused("cancelled"):
            read(photo, CountedBudget(last))


def test_a_late_analysis_is_refused_with_its_limit(analyzer: FaceAnalyzer, photo: bytes) -> None:
    with refused("analysis_timeout", match=r"0\.0001 seconds", limit_seconds=0.0001):
        analyzer.analyze_file(photo, budget=Budget(0.0001))
    assert analyzer.analyze_file(photo).faces
