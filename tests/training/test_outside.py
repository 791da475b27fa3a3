"""Test a network that begins as part of a pretrained one, and says what it knows nothing of."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.vision.cards import load_card
from tests.training.pictures import make_pictures
from training.__main__ import cli

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's and its exporter's own


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.usefixtures("pretrained")
def test_pictures_of_no_class_get_an_answer_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, part in enumerate(("train", "validation")):
        make_pictures(tmp_path / "data" / part, 16, ("one", "two"), seed)
    make_pictures(tmp_path / "others", 8, ("three", "four"), 2)
    changes = {
        "data.folder": tmp_path / "data",
        "data.size": 40,
        "data.stored_size": 40,
        "data.outside": f'{{others = {{folder = "{tmp_path / "others"}"}}}}',
        "network.options.last": "block3_sepconv1_act",
        "schedule.epochs": 1,
        "schedule.batch": 8,
    }
    settings = [f"--set={key}={value}" for key, value in changes.items()]
    fitted = run("fit", "clothing", "--out", tmp_path / "run", *settings)
    assert fitted.exit_code == 0, fitted.output

    # Finished, it needs ImageNet's weights no more.
    monkeypatch.delenv("RAUT_PRETRAINED")
    folder = tmp_path / "models" / "clothing"
    exported = run("export", tmp_path / "run", folder)
    assert exported.exit_code == 0, exported.output
    card = load_card(folder)
    assert card.region == "image"
    assert card.heads["clothes"].outside is not None
    own, others = card.figures["outside"]
    assert (own["kind"], own["count"]) == ("clothing", 32)
    assert own["refused"] == pytest.approx(0.05, abs=0.02)
    figures = card.figures["heads"]["clothes"]
    refused = sum(row[-1] for row in figures["confusion"])  # the last label is none of the classes
    assert refused == round(own["refused"] * own["count"])
    assert set(figures["recall"]) == {"one", "two", "none_of_these"}
    assert (others["kind"], others["count"]) == ("others", 8)
    assert "“none of these”" in (folder / "README.md").read_text()
    assert (folder / "model.keras").stat().st_size < 4 * card.figures["speed"]["parameters"]
