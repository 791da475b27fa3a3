import pytest
from flask import Flask

from app.vision.readings import Prediction, Reason
from app.web.i18n.formats import why_unsure


def unsure(reason: Reason | None = None, threshold: float = 0.88) -> Prediction:
    return Prediction(
        label="female",
        probability=0.83,
        confident=False,
        probabilities={"female": 0.83, "male": 0.17},
        threshold=threshold,
        reason=reason,
    )


@pytest.mark.parametrize(
    ("language", "reason", "sentence"),
    [
        ("en", None, "83% female: below the 88% that this model needs."),
        ("id", None, "83% perempuan: di bawah 88% yang diperlukan model ini."),
        ("en", "covered", "Part of the face is covered: this reading can't be trusted."),
        ("id", "dark", "Wajah terlalu gelap: hasil ini tidak dapat dipercaya."),
    ],
)
def test_an_unsure_reading_says_why(
    app: Flask, language: str, reason: Reason | None, sentence: str
) -> None:
    with app.test_request_context(headers={"Accept-Language": language}):
        assert why_unsure(unsure(reason)) == sentence


@pytest.mark.parametrize(
    ("threshold", "sentence"),
    [
        (0.834, "83.0% female: below the 83.4% that this model needs."),
        (0.83, ""),  # of a camera's face, which is shown as unsure for a moment longer
    ],
)
def test_the_limit_is_never_shown_as_reached(app: Flask, threshold: float, sentence: str) -> None:
    with app.test_request_context():
        assert why_unsure(unsure(threshold=threshold)) == sentence
