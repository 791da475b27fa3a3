import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import set_external_data

from app.vision.geometry import Box
from app.vision.imaging.crops import cut_crop
from app.vision.models.cards import ModelError
from app.vision.models.classifiers import load_classifier
from app.vision.models.files import Runtime
from app.vision.pipeline import FaceAnalyzer
from app.vision.readings import Detection
from tests.helpers.cards import hash_files, read_card, rewrite_card
from tests.helpers.forms import ASTRONAUT

# Importing the application sets it for our own process; another must do so itself.
TELEMETRY = "ORT_DISABLE_TELEMETRY"
EXPRESSIONS = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
FILE_OF: dict[Runtime, str] = {
    "auto": "model.int8.onnx",
    "keras": "model.keras",
    "onnx": "model.onnx",
}


@pytest.mark.parametrize("model", ["expression", "gender"])
@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
def test_keras_and_onnx_give_the_same_probabilities(model: str) -> None:
    folder = Path("models") / model
    by_keras, by_onnx = load_classifier(folder, "keras"), load_classifier(folder, "onnx")
    boxes = [Box(177 + step, 66, 95, 95) for step in (-12, -6, 0, 6, 12)]
    crops = np.stack(
        [cut_crop(ASTRONAUT, Detection(box=box, score=1), by_onnx.card.shape) for box in boxes]
    )
    for one, other in zip(by_keras.predict(crops), by_onnx.predict(crops), strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-4)


PRIOR = dict.fromkeys(EXPRESSIONS, 0.1) | {"happy": 0.4}
JOIN = {"weights": {"original": 0.4, "ferplus": 0.6}, "prior": PRIOR, "strength": 0.5}


def join_heads(models: Path, **changes: object) -> Path:
    folder = models / "expression"
    joined = {"classes": EXPRESSIONS, "join": JOIN} | changes
    rewrite_card(folder, heads=read_card(folder)["heads"] | {"joined": joined})
    return folder


@pytest.mark.parametrize("runtime", FILE_OF)
@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
def test_a_head_joins_the_evidence_of_others(models: Path, runtime: Runtime) -> None:
    folder = join_heads(models)
    shape = load_classifier(folder).card.shape
    crop = cut_crop(ASTRONAUT, Detection(box=Box(177, 66, 95, 95), score=1), shape)[None]
    one, other, joined = (
        load_classifier(folder, runtime, head=head).predict(crop)[0].probabilities
        for head in ("original", "ferplus", "joined")
    )
    shares = {
        name: one[name] ** 0.4 * other[name] ** 0.6 / PRIOR[name] ** 0.5 for name in EXPRESSIONS
    }
    expected = {name: share / sum(shares.values()) for name, share in shares.items()}
    assert joined == pytest.approx(expected, abs=1e-3)


def test_a_class_has_a_threshold_of_its_own(models: Path) -> None:
    folder = join_heads(models, class_thresholds=dict.fromkeys(EXPRESSIONS[:3], 0.99))
    classifier = load_classifier(folder, head="joined")
    crops = np.random.default_rng(0).integers(0, 256, (64, 48, 48, 1), np.uint8)
    strict = [each.threshold == 0.99 for each in classifier.predict(crops)]
    assert strict == [each.label in EXPRESSIONS[:3] for each in classifier.predict(crops)]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"join": JOIN | {"weights": {"nothing": 1.0}}}, "joins 'nothing', which is no output"),
        ({"join": JOIN | {"prior": {"happy": 1.0}}}, "must name each class"),
        ({"classes": EXPRESSIONS[:2], "join": JOIN}, "must name each class"),
    ],
)
def test_a_false_join_is_refused(models: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        load_classifier(join_heads(models, **changes))


def test_an_image_and_its_mirror_image_have_one_averaged_answer(models: Path) -> None:
    rewrite_card(models / "expression", mirror_averaging=True)
    classifier = load_classifier(models / "expression")
    box = Detection(box=Box(177, 66, 95, 95), score=1)
    crop = cut_crop(ASTRONAUT, box, classifier.card.shape)[None]
    (one,) = classifier.predict(crop, mirrored=True)
    (other,) = classifier.predict(np.ascontiguousarray(crop[:, :, ::-1]), mirrored=True)
    assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)


@pytest.mark.parametrize("runtime", FILE_OF)
@pytest.mark.parametrize(
    ("content", "in_card", "reason"),
    [
        (None, False, "is missing"),
        (b"altered", False, "is not the file"),
        (b"", True, "can't be read as a model"),
        (b"no model at all", True, "can't be read as a model"),
        (b"\x80\x04N.", True, "can't be read as a model"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
def test_a_bad_model_file_is_named(
    models: Path, runtime: Runtime, content: bytes | None, in_card: bool, reason: str
) -> None:
    file = models / "gender" / FILE_OF[runtime]
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    if in_card:
        rewrite_card(file.parent, files=hash_files(file.parent))
    with pytest.raises(ModelError, match=f"{re.escape(file.name)} {reason}"):
        load_classifier(file.parent, runtime)


def test_a_model_without_8_bit_convolutions_answers_by_its_exact_export(models: Path) -> None:
    folder = models / "gender"
    (folder / FILE_OF["auto"]).unlink()
    rewrite_card(folder, files=hash_files(folder))
    assert load_classifier(folder).digest == read_card(folder)["files"]["model.onnx"]


def test_labels_that_the_model_lacks_are_answered_with_those_it_has(models: Path) -> None:
    with pytest.raises(ModelError, match=r"no labels 'other'.* Choose from original, ferplus"):
        FaceAnalyzer.load(models, label_set="other")


def test_a_model_that_answers_otherwise_than_its_card_says_is_named(models: Path) -> None:
    file = FILE_OF["auto"]
    shutil.copyfile(models / "expression" / file, models / "gender" / file)
    rewrite_card(models / "gender", files=hash_files(models / "gender"))
    with pytest.raises(ModelError, match=r"gender.*doesn't answer as its card says"):
        FaceAnalyzer.load(models)


def test_a_card_whose_answering_head_is_missing_is_refused(models: Path) -> None:
    rewrite_card(models / "gender", default_head="other")
    with pytest.raises(ModelError, match="'other' is no head"):
        FaceAnalyzer.load(models)


@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"conditional_threshold": {"head": "child", "found": "baby", "threshold": 0.9}},
            "'baby' is no answer",
        ),
        ({"excluded": ["nobody"]}, "'nobody', which is no class"),
        ({"excluded": ["female", "male"]}, "leaves no class to answer"),
        ({"classes": ["female", "female"]}, "stands twice"),
    ],
    ids=["guard", "stranger left out", "all left out", "twice"],
)
def test_a_card_that_names_a_class_which_is_none_is_refused(
    models: Path, changes: dict[str, object], sentence: str
) -> None:
    folder = models / "gender"
    heads = read_card(folder)["heads"]
    rewrite_card(folder, heads=heads | {"perceived": heads["perceived"] | changes})
    with pytest.raises(ModelError, match=sentence):
        load_classifier(folder)


def test_a_folder_that_is_not_named_as_its_model_is_refused(models: Path) -> None:
    (models / "gender").rename(models / "sex")
    with pytest.raises(ModelError, match="describes a model named 'gender'"):
        FaceAnalyzer.load(models)


def test_a_file_swapped_after_its_hash_was_checked_is_not_what_is_loaded(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = models / "gender" / "model.keras"
    read = Path.read_bytes

    def read_and_swap(path: Path) -> bytes:
        content = read(path)
        if path == file:
            path.write_bytes(b"another file")
        return content

    monkeypatch.setattr(Path, "read_bytes", read_and_swap)
    classifier = load_classifier(models / "gender", "keras")
    crops = np.zeros((1, *([classifier.card.size] * 2), classifier.card.channels), np.uint8)
    assert len(classifier.predict(crops)) == 1


@pytest.mark.parametrize("nested", [False, True], ids=["an initializer", "a node's attribute"])
def test_a_model_with_weights_in_another_file_is_refused(models: Path, nested: bool) -> None:
    folder = models / "gender"
    model = onnx.load(folder / "model.onnx")
    weights = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    (models / "weights.bin").write_bytes(weights.raw_data)
    set_external_data(weights, str(models / "weights.bin"))
    weights.ClearField("raw_data")
    if nested:
        constant = onnx.helper.make_node("Constant", [], [weights.name], value=weights)
        model.graph.node.insert(0, constant)
        model.graph.initializer.remove(weights)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    rewrite_card(folder, files=hash_files(folder))
    with pytest.raises(ModelError, match=r"model\.onnx takes weights from other files"):
        FaceAnalyzer.load(models)


def test_a_loaded_model_leaves_nothing_in_the_home_directory(tmp_path: Path) -> None:
    command = "from app.vision.pipeline import FaceAnalyzer; FaceAnalyzer.load('models')"
    environment = {name: value for name, value in os.environ.items() if name != TELEMETRY}
    subprocess.run(
        [sys.executable, "-c", command], env={**environment, "HOME": str(tmp_path)}, check=True
    )
    assert list(tmp_path.rglob("*")) == []
