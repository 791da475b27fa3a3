import re
import shutil
from pathlib import Path

import pytest
from babel.numbers import format_decimal
from flask import Flask
from flask.testing import FlaskClient
from flask_babel import gettext

from app import create_app
from app.intervals import wilson_interval
from app.settings import Settings
from app.vision.models.cards import load_card
from app.vision.models.weaknesses import MESSAGES, weakness_in_english
from app.web.i18n import formats
from app.web.pages.charts import choose_ticks, describe_classes
from tests.helpers.cards import copy_face_models, read_card, rewrite_card
from tests.helpers.forms import ASTRONAUT_PNG, analyze, post

EXPRESSION = read_card(Path("models/expression"))
CLOTHING = read_card(Path("models/clothing"))


@pytest.fixture(scope="module")
def rival_app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """Serve a second model for expressions, whose card has hardly a figure."""
    folder = tmp_path_factory.mktemp("models")
    copy_face_models(folder)
    shutil.copytree(folder / "expression", folder / "rival")
    figures = {name: EXPRESSION["figures"][name] for name in ("part", "command")}
    measured = {
        head: {name: each for name, each in values.items() if "reliability" not in name}
        for head, values in EXPRESSION["figures"]["heads"].items()
    }
    heads = EXPRESSION["heads"]
    strict = heads["joined"] | {"class_thresholds": {"fear": 0.8}}
    rewrite_card(
        folder / "rival",
        name="rival",
        figures=figures | {"heads": measured},
        heads=heads | {"joined": strict},
    )
    return create_app(Settings(models=folder))


def read(client: FlaskClient, address: str, language: str = "en") -> str:
    return client.get(address, headers={"Accept-Language": language}).text


def test_every_loaded_model_has_its_card(client: FlaskClient) -> None:
    overview = read(client, "/models")
    for name in ("expression", "gender"):
        assert f'href="/models/{name}"' in overview
        page = read(client, f"/models/{name}")
        card = load_card(Path("models") / name)
        assert card.files["model.onnx"] in page
        assert card.data["licence"] in page
    assert client.get("/models/age").status_code == 404


PARTS = ["photos", "risks", "robustness", "history", "weaknesses"]
ONLY_THERE = [("gender", "groups"), ("clothing", "ood")]
ONLY_THERE += [("expression", part) for part in [*PARTS, "before-original", "after-original"]]


@pytest.mark.parametrize(("model", "part"), ONLY_THERE)
def test_a_figure_is_shown_where_the_card_has_it_and_only_there(
    client: FlaskClient, rival_app: Flask, model: str, part: str
) -> None:
    assert f'id="{part}' in read(client, f"/models/{model}")
    assert f'id="{part}' not in read(rival_app.test_client(), "/models/rival")


def test_a_share_of_all_is_no_certainty(client: FlaskClient) -> None:
    page = read(client, "/models/clothing")
    assert re.search(r"100\.0%<small>9\d\.\d% – 100\.0%", page)
    assert "100.0% – 100.0%" not in page


def test_each_kind_of_picture_on_a_card_has_a_name_in_indonesian(client: FlaskClient) -> None:
    kinds = load_card(Path("models/clothing")).figures["ood"]
    page = read(client, "/models/clothing", "id")
    rows = page.partition('id="ood"')[2].partition("</section>")[0]
    assert "pakaian yang dipotong dan diacak" in rows
    assert [each["kind"] for each in kinds if f">{each['kind']}" in rows] == []


@pytest.mark.parametrize("name", [card.parent.name for card in Path("models").glob("*/card.json")])
def test_every_text_of_a_served_card_is_shown_in_indonesian(app: Flask, name: str) -> None:
    card = load_card(Path("models") / name)
    texts = filter(None, (card.purpose, card.not_for, card.default_head_reason))
    with app.test_request_context(headers={"Accept-Language": "id"}):
        assert [text.en for text in texts if formats.localized(text) in ("", text.en)] == []
        for weakness in card.figures["weaknesses"]:
            template = MESSAGES[weakness["code"]]
            assert gettext(template) != template
            assert formats.weakness(weakness) != weakness_in_english(weakness)
        changes = {row["change"] for row in card.figures["robustness"]}
        assert [change for change in changes if formats.change(change) == change] == []
        for text in (card.data["source"], card.data["licence"]):
            assert "lang=" not in formats.data_text(text)


@pytest.mark.parametrize(
    ("language", "weakness"),
    [
        ("en", "81% are right instead of 93%: occlusion, the lowest 45%."),
        ("id", "81% benar, bukan 93%: penutupan sebagian, 45% terbawah."),
    ],
)
def test_a_card_s_texts_and_weaknesses_stand_in_the_reader_s_language(
    client: FlaskClient, language: str, weakness: str
) -> None:
    purpose = load_card(Path("models/gender")).purpose.model_dump()[language]
    page = read(client, "/models/gender", language)
    assert f'<p class="lead">{purpose}</p>' in page
    assert f"<li>{weakness}</li>" in page


@pytest.mark.parametrize(
    ("language", "quantized", "teacher"),
    [
        (
            "en",
            "{}% of answers right; exactly, {}%",
            "{} million parameters; <code>clothes</code>: {}% of {} answers right",
        ),
        (
            "id",
            "{}% jawaban benar; dihitung tepat, {}%",
            "{} juta parameter; <code>clothes</code>: {}% dari {} jawaban benar",
        ),
    ],
)
def test_the_card_s_numbers_stand_in_the_reader_s_form(
    client: FlaskClient, language: str, quantized: str, teacher: str
) -> None:
    def write(value: float, form: str = "#,##0.0") -> str:
        return str(format_decimal(value, form, locale=language))

    shares, (taught,) = EXPRESSION["figures"]["quantization"], CLOTHING["training"]["teachers"]
    by_card = taught["heads"]["clothes"]
    page = read(client, "/models/expression", language)
    for each in shares.values():
        assert quantized.format(write(100 * each["quantized"]), write(100 * each["exact"])) in page
    for row in EXPRESSION["figures"]["cross_validation"].values():
        assert f"{write(row['accuracy'], '#,##0.0%')}</td>" in page
    millions = write(taught["parameters"] / 1e6)
    told = teacher.format(millions, write(100 * by_card["accuracy"]), by_card["count"])
    assert told in read(client, "/models/clothing", language)


def test_a_guarded_head_tells_both_limits_and_how_its_guard_is_judged(client: FlaskClient) -> None:
    head = load_card(Path("models/gender")).heads["perceived"]
    assert head.conditional_threshold
    page = read(client, "/models/gender")
    assert f"below a probability of {head.threshold:.1%}" in page
    assert f"below {head.conditional_threshold.threshold:.1%} for a face taken for “child”" in page
    assert "a child is under 13" in page
    indonesian = read(client, "/models/gender", "id")
    assert "untuk wajah yang dikira “anak”" in indonesian


def test_a_joined_head_tells_its_evidence_and_its_risk_at_each_coverage(
    client: FlaskClient, rival_app: Flask
) -> None:
    assert "Joins the evidence of original, ferplus." in read(client, "/models")
    page = read(client, "/models/expression")
    assert "original: 10%, ferplus: 90%" in page
    assert f"its side is below {EXPRESSION['visibility']['tiny']:g} pixels" in page
    assert f"{EXPRESSION['figures']['risk_coverage']['natural'][1]['right']:.1%}" in page
    assert "Risiko dan cakupan" in read(client, "/models/expression", "id")
    limit = EXPRESSION["heads"]["joined"]["threshold"]
    strict = f"below a probability of {limit:.1%}; fear below 80.0%"
    assert strict in read(rival_app.test_client(), "/models/rival")


def test_the_choice_is_kept_for_this_visitor_alone(app: Flask, client: FlaskClient) -> None:
    answer = client.post("/models", data={"task-expression": "expression:ferplus"})
    assert answer.status_code == 303
    assert 'name="label_set" value="ferplus"' in read(client, "/")
    assert 'name="label_set"' not in read(app.test_client(), "/")
    client.post("/models", data={"default": "1"})
    assert 'name="label_set"' not in read(client, "/")
    assert 'value="ferplus"' in read(client, "/?label_set=ferplus")  # for one visit
    assert 'value="ferplus"' not in read(client, "/")


def test_the_plain_form_follows_the_choice(client: FlaskClient) -> None:
    photo = {"image": ASTRONAUT_PNG}
    answer = analyze(client, ASTRONAUT_PNG, label_set="original").get_json()
    probability = answer["faces"][0]["expression"]["probability"]
    by_original = f"<td>happy</td><td>{probability:.0%}</td>"
    assert by_original not in post(client, "/", photo).text
    client.post("/models", data={"task-expression": "expression:original"})
    assert by_original in post(client, "/", photo).text


def test_a_refused_upload_keeps_the_choice(client: FlaskClient) -> None:
    client.set_cookie("raut_models", "label_set=ferplus")
    answer = post(client, "/?models=expression", {"image": bytes(30_000_000)})
    assert answer.status_code == 413
    page = answer.text
    assert 'name="models" value="expression"' in page
    assert 'name="label_set" value="ferplus"' in page


def test_a_choice_of_models_that_are_gone_is_forgotten(client: FlaskClient) -> None:
    client.set_cookie("raut_models", "models=age&label_set=ferplus")
    assert client.get("/").status_code == 200
    assert 'value="age"' not in read(client, "/")


def test_a_rival_model_can_be_chosen(rival_app: Flask) -> None:
    client = rival_app.test_client()
    by_default = analyze(client, ASTRONAUT_PNG).get_json()["models"]
    assert list(by_default) == ["expression", "gender"]
    client.post("/models", data={"task-expression": "rival:original"})
    assert 'name="models" value="rival,gender"' in read(client, "/")
    both = analyze(client, ASTRONAUT_PNG, models="expression,rival").get_json()
    assert both["code"] == "models_of_one_task"


def test_the_api_takes_and_describes_the_expression_s_labels(client: FlaskClient) -> None:
    first, second = (
        analyze(client, ASTRONAUT_PNG, label_set=labels).get_json()["faces"][0]["expression"]
        for labels in ("original", "ferplus")
    )
    assert first["probabilities"] != second["probabilities"]
    content = client.get("/api/v1/openapi.json").get_json()["paths"]["/api/v1/analyze"]["post"]
    form = content["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["label_set"]["enum"] == ["ferplus", "joined", "original"]


def test_recall_and_precision_come_from_the_confusion_matrix() -> None:
    first, second = describe_classes([[8, 2], [4, 0]], ["cat", "dog"])
    assert (first.recall.share, first.recall.count) == (0.8, 10)
    assert first.precision.share == pytest.approx(8 / 12)
    assert first.f1 == pytest.approx(16 / 22)
    assert (second.recall.share, second.f1) == (0.0, 0.0)


def test_an_interval_holds_its_share_and_stays_between_0_and_1() -> None:
    assert wilson_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for right in (0, 1, 7):
        low, high = wilson_interval(right, 7)
        assert 0 <= low <= right / 7 <= high <= 1


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.61, 0.69), (1, 90), (3, 3), (0, 0)])
def test_ticks_are_few_and_lie_in_the_range(low: float, high: float) -> None:
    ticks = choose_ticks(low, high)
    assert 1 <= len(ticks) <= 8
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
