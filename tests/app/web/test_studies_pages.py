import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from markupsafe import escape

from app import create_app
from app.settings import Settings
from app.studies import StudyError, read_studies

pytestmark = pytest.mark.usefixtures("loaded_models")

STUDIES = Path("training/results")
NAMES = sorted(read_studies(STUDIES))


def test_the_models_page_links_each_study_s_page(client: FlaskClient) -> None:
    text = client.get("/models").text
    assert re.findall(r'href="/models/studies/([^"]+)"', text) == NAMES
    assert len(NAMES) == 5


@pytest.mark.parametrize("name", NAMES)
def test_a_study_s_page_has_the_paper_s_figures_beside_ours(client: FlaskClient, name: str) -> None:
    study = read_studies(STUDIES)[name]
    text = client.get(f"/models/studies/{name}").text
    assert study.command in text
    for figure in study.comparison:
        assert f">{escape(figure.paper)}<" in text
        assert f">{escape(figure.ours) or '–'}<" in text
    repeated = [a.why == b.why for a, b in pairwise(study.comparison)]
    assert text.count("<td>As above.</td>") == sum(repeated)
    lengths = [len(study.comparison), len(study.rows), *(len(t.rows) for t in study.published)]
    assert text.count("<tr>") == sum(lengths) + len(lengths)


def test_the_paper_s_grid_is_shown_beside_ours_with_its_correlation(client: FlaskClient) -> None:
    text = client.get("/models/studies/clothing-grid").text
    assert "<td>0.0001</td>" in text
    assert '<td>28.76%</td><td>24.00%</td><td class="number">-4.8 points</td>' in text
    assert "the mean difference of ours is -1.4 points. The correlation is 0.996." in text
    assert text.count('class="chart-point"') == 27


CURVES = {"training_loss": [1.5, 0.25], "validation_accuracy": [0.5, 0.625]}
HISTORIES = {
    "network=plain-learning_rate=0.5": CURVES,
    "clothing-teacher": {"training_loss": [2.5, 0.75, 0.5]},
}
ENGLISH = [
    "network plain, learning rate 0.5: Accuracy",
    "Line chart of training loss 0.25.",
    "validation accuracy 62.5%",
]
TRANSLATED = [
    "jaringan sederhana, laju pembelajaran 0,5: Akurasi",
    "loss pelatihan 0,25",
    "akurasi validasi 62,5%",
]


@pytest.mark.parametrize(("language", "words"), [("en", ENGLISH), ("id", TRANSLATED)])
def test_the_epochs_of_each_training_are_drawn_over_axes_with_names(
    tmp_path: Path, language: str, words: list[str]
) -> None:
    (file,) = STUDIES.glob("gender-fast-transfer/*/results.json")
    target = tmp_path / "gender-fast-transfer" / "2026-01-01" / "results.json"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps(json.loads(file.read_text()) | {"histories": HISTORIES}))
    client = create_app(Settings(studies=tmp_path)).test_client()
    address = "/models/studies/gender-fast-transfer"
    text = client.get(address, headers={"Accept-Language": language}).text
    assert all(each in text for each in words)
    assert text.count('class="chart-axis chart-across"') == 3  # "Epoch" under each
    # The first one ends half way of the other's three epochs, over its own axis of the loss.
    assert 'd="M56.0 12.0L178.0 228.0"' in text


def test_no_study_is_found_by_a_wrong_name_or_without_results(
    client: FlaskClient, tmp_path: Path
) -> None:
    assert client.get("/models/studies/nothing").status_code == 404
    assert client.get("/models/studies/..%2F..").status_code == 404
    bare = create_app(Settings(studies=tmp_path)).test_client()
    assert "/models/studies/" not in bare.get("/models").text


def test_results_that_are_none_are_named_before_the_start(tmp_path: Path) -> None:
    file = tmp_path / "a-study" / "2026-01-01" / "results.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"study": "a-study"}')
    with pytest.raises(StudyError, match=r"a-study/2026-01-01/results\.json holds no results"):
        create_app(Settings(studies=tmp_path))


def test_the_studies_pages_speak_indonesian(client: FlaskClient) -> None:
    for name in NAMES:
        address = f"/models/studies/{name}"
        text = client.get(address, headers={"Accept-Language": "id"}).get_data(as_text=True)
        assert "Dibandingkan dengan makalah" in text
        assert text.count('<span lang="en">') == 1, name  # the processor
        assert not re.search(r">\d+\.\d+%<", text)


def test_a_study_s_page_has_its_curves_and_names_its_paper(client: FlaskClient) -> None:
    address = "/models/studies/expression-epochs-batches"
    text = client.get(address).text
    assert "Rudy Arijanto" in text
    assert "2020" in text
    curves = re.findall(rf'src="({address}/figures/[^"]+)"', text)
    assert len(curves) == 4
    with client.get(curves[0]) as curve:
        assert curve.mimetype == "image/png"
    assert client.get(f"{address}/figures/..%2Fresults.json").status_code == 404
    in_indonesian = client.get(address, headers={"Accept-Language": "id"}).text
    assert "Loss dan akurasi sepanjang epoch: epoch 50 batch 64" in in_indonesian
    assert "Kata-kata dalam gambar ini berbahasa Inggris" in in_indonesian
