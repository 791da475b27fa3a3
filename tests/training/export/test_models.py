import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image

from app.vision.explain.feature_maps import FeatureExtractor
from app.vision.imaging.crops import CropShape
from app.vision.models.cards import load_card
from app.vision.models.classifiers import load_classifier
from app.vision.models.keras_network import KerasNetwork
from tests.training.recipes import fail, fit, run, succeed, write_recipe
from training.datasets.loading import OOD, Split, read_split
from training.export import compression, exporting, quantization
from training.fit.distillation import distillation_targets
from training.recipe import DataError, Distillation
from training.runs import load_run, read_csv, read_history
from training.studies import ablation

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's and its exporter's own


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe's data, run and model, made once by the command line."""
    folder = tmp_path_factory.mktemp("made")
    recipe = write_recipe(folder)
    growing = "progressive_sizes = [[0.5, 16], [1.0, 24]]"
    recipe.write_text(recipe.read_text().replace("batch = 8", f"batch = 8\n{growing}"))
    fit(recipe, folder / "run", "schedule.epochs=3")
    succeed("export", folder / "run", folder / "models" / "tiny")
    return folder


@pytest.fixture
def model(made: Path, tmp_path: Path) -> Path:
    for name in ("run", "models"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path / "models" / "tiny"


def first_kernel(network: keras.Model) -> np.ndarray:
    convolutions = (each for each in network.layers if isinstance(each, keras.layers.Conv2D))
    return np.asarray(next(convolutions).kernel)


def distil(recipe: Path, teacher: str | Path) -> str:
    """Return a recipe's text with a teacher."""
    return f'{recipe.read_text()}[distillation]\nteachers = ["{teacher}"]\n'


def test_a_card_has_its_figures_and_they_are_found_again(made: Path, model: Path) -> None:
    card = json.loads((model / "card.json").read_text())
    figures = card["figures"]
    own = figures["heads"]["original"]
    low, high = own["accuracy_interval"]
    assert low <= own["accuracy"] <= high
    assert sum(map(sum, own["confusion"])) == own["count"] == 40
    assert sum(b["share"] for b in own["reliability"]) == pytest.approx(1, abs=0.01)
    assert {row["change"] for row in figures["robustness"]} >= {"none", "blur", "turn", "occlude"}
    assert len(figures["history"]) == 3
    assert figures["command"] == f"python -m training verify {made / 'models'}"
    assert "# tiny" in (model / "README.md").read_text()

    succeed("verify", made / "models")
    own["accuracy"] -= 0.1
    card["heads"]["original"]["temperature"] += 1
    (model / "card.json").write_text(json.dumps(card))
    for figure in ("heads.original.accuracy", "original.temperature"):
        fail(f"tiny: {figure} is", "verify", model.parent)


def test_all_files_of_a_model_answer_alike(model: Path) -> None:
    random = np.random.default_rng(1)
    crops = random.integers(0, 256, (20, 24, 24, 1), np.uint8)
    answers = (load_classifier(model, form).predict(crops) for form in ("keras", "onnx", "auto"))
    for exact, other, quantized in zip(*answers, strict=True):
        assert exact.probabilities == pytest.approx(other.probabilities, abs=1e-4)
        assert exact.probabilities == pytest.approx(quantized.probabilities, abs=0.05)


def test_what_is_served_and_measured_has_8_bit_convolutions_where_they_lose_nothing(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = load_classifier(model)
    assert served.digest == load_card(model).files["model.int8.onnx"]
    size = (model / "model.int8.onnx").stat().st_size
    assert load_card(model).figures["speed"]["bytes"] == size
    (accuracies,) = load_card(model).figures["quantization"].values()
    assert accuracies["exact"] - accuracies["quantized"] <= quantization.LARGEST_LOSS
    assert "whose convolutions compute in 8 bits" in (model / "README.md").read_text()

    monkeypatch.setattr(quantization, "LARGEST_LOSS", -1.0)
    assert "8-bit convolutions would lose accuracy" in succeed("quantize", model)
    assert not (model / "model.int8.onnx").exists()
    assert load_classifier(model).digest == load_card(model).files["model.onnx"]

    monkeypatch.undo()
    succeed("quantize", model)
    assert load_classifier(model).digest == served.digest
    succeed("verify", model.parent)


def test_a_model_is_calibrated_again_without_training(model: Path) -> None:
    before = json.loads((model / "card.json").read_text())
    wrong = json.loads(json.dumps(before))
    wrong["heads"]["original"]["temperature"] += 1
    (model / "card.json").write_text(json.dumps(wrong))
    succeed("calibrate", model)
    after = json.loads((model / "card.json").read_text())
    assert (after["heads"], after["files"]) == (before["heads"], before["files"])
    succeed("verify", model.parent)


def test_an_export_tells_what_serving_lacks_and_the_card_how_it_was_trained(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.recipe.RECIPES", made)
    shutil.copytree(made / "run", tmp_path / "run")
    output = succeed("export", tmp_path / "run", tmp_path / "other" / "mine")
    assert "only from a folder named tiny" in output
    needed = "models/proposer models/face_refiner models/face_classifier"
    assert f"cp -r {needed} {tmp_path / 'other'}" in output
    command = load_card(tmp_path / "other" / "mine").training["command"]
    assert command == "python -m training fit tiny --set schedule.epochs=3"
    fitted = f"python -m training fit {made / 'tiny.toml'} --set schedule.epochs=3"
    assert load_card(made / "models" / "tiny").training["command"] == fitted


def test_a_prediction_is_of_the_main_face_unless_given_a_crop(made: Path, tmp_path: Path) -> None:
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "face.png")
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "none.png")
    pictures = sorted(tmp_path.glob("*.png"))
    face, none = succeed("predict", made / "models" / "tiny", *pictures).splitlines()
    assert face.split()[1] in ("happy", "sad")
    assert "no face found" in none
    cropped = succeed("predict", made / "models" / "tiny", tmp_path / "none.png", "--crop")
    assert cropped.split()[1] in ("happy", "sad")


def test_the_first_filters_are_found_where_they_are_stored_in_half_precision(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "SMALLEST_COMPRESSED", 1)
    succeed("export", made / "run", tmp_path / "tiny")
    kernel = first_kernel(keras.saving.load_model(tmp_path / "tiny" / "model.keras"))
    filters = FeatureExtractor(tmp_path / "tiny", load_card(tmp_path / "tiny")).filters
    np.testing.assert_array_equal(filters, np.transpose(kernel, (3, 2, 0, 1)))


def test_an_export_that_answers_otherwise_ends_with_a_sentence_and_the_model_of_before(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "LARGEST_DIFFERENCE", 0.0)
    before = {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    message = "Error: The ONNX export's original logits differ by"
    fail(message, "export", tmp_path / "run", model)
    assert before == {path: path.read_bytes() for path in model.rglob("*") if path.is_file()}
    assert [path for path in (tmp_path / "run").iterdir() if path.is_dir()] == []


def test_a_model_teaches_another(model: Path, recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(distil(recipe, model))
    fit(recipe, tmp_path / "taught", "schedule.epochs=1")

    stranger = recipe.read_text().replace("heads.original", "heads.other")
    recipe.write_text(stranger.replace('default_head = "original"', 'default_head = "other"'))
    fail("has none of the heads other", "fit", recipe, "--out", tmp_path / "refused")


@pytest.fixture
def split(made: Path) -> Split:
    return read_split(made / "data", "validation", CropShape(24, 1))


def mix(teacher: Path, split: Split, targets: np.ndarray, weight: float) -> np.ndarray:
    teaching = Distillation(teachers=[teacher], distill_weight=weight)
    return distillation_targets({"original": targets}, split, teaching)["original"]


def test_a_teacher_labels_unknown_pictures_and_no_ood_ones(model: Path, split: Split) -> None:
    split.labels[0] = OOD
    known = np.full((len(split.labels), 2), 0.5, np.float32)
    known[1] = 0
    mixed = mix(model, split, known, 0.5)
    assert mixed[0].tolist() == [0.5, 0.5]
    assert mixed[1].sum() == pytest.approx(1)
    assert mixed[1].max() > 0.5
    assert mixed.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_teacher_predicts_a_repeated_picture_alike(model: Path, split: Split) -> None:
    nothing = np.zeros((len(split.labels), 2), np.float32)
    each = mix(model, split, nothing, 1.0)
    assert len(np.unique(each, axis=0)) > 3
    chosen = np.array([3, 0, 3, 1])
    repeated = mix(model, split.subset(chosen), nothing[chosen], 1.0)
    assert np.abs(repeated - each[chosen]).max() < 1e-5


def test_a_teacher_of_several_answers_teaches_only_its_classes(made: Path) -> None:
    split = read_split(made / "data", "validation", CropShape(48, 1, 0.3))
    targets = {"face": np.full((40, 2), 0.5, np.float32), "place": np.full((40, 5), 0.1)}
    teaching = Distillation(teachers=[Path("models/face_classifier")], distill_weight=1.0)
    mixed = distillation_targets(targets, split, teaching)
    assert np.array_equal(mixed["place"], targets["place"])
    assert not np.allclose(mixed["face"], 0.5)
    assert mixed["face"].sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_one_command_rebuilds_a_model_and_its_missing_teacher(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe.write_text(recipe.read_text().replace("epochs = 6", "epochs = 1"))
    teacher = recipe.with_name("tiny-teacher.toml")
    teacher.write_text(recipe.read_text().replace('"tiny"', '"tiny-teacher"'))
    recipe.write_text(distil(recipe, "teachers/tiny-teacher"))
    assert "tiny-teacher, original: validation accuracy" in succeed("rebuild", recipe)
    assert "needed_minutes" not in load_card(tmp_path / "teachers" / "tiny-teacher").training

    for changed, message in (
        (recipe, "was fitted by another recipe of the name 'tiny'"),
        (teacher, "teachers/tiny-teacher was fitted by another recipe than"),
    ):
        changed.write_text(changed.read_text().replace("seed = 1", "seed = 2"))
        fail(message, "rebuild", recipe)


def test_missing_pictures_are_named_before_a_teacher_is_trained(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    teacher = recipe.read_text().replace('"tiny"', '"tiny-teacher"')
    (tmp_path / "tiny-teacher.toml").write_text(teacher)
    taught = distil(recipe, "teachers/tiny-teacher")
    recipe.write_text(f'{taught}[data.ood.others]\nfolder = "others"\n')
    fail("There are no out-of-distribution pictures in others.", "rebuild", recipe)
    recipe.write_text(taught.replace(str(tmp_path / "data"), "elsewhere"))
    fail("elsewhere", "rebuild", recipe)
    assert not (tmp_path / "runs").exists()


def test_a_card_has_the_training_time_of_its_teachers_and_theirs_if_known(
    model: Path, recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(distil(recipe, model))
    fit(recipe, tmp_path / "taught", "schedule.epochs=1")
    card = json.loads((model / "card.json").read_text())
    card["training"]["minutes"] = 3.5
    card["training"]["recipe"]["distillation"] = {"teachers": ["somewhere"]}
    sentences = {
        None: "The training time of the models it learned from was not recorded.",
        2.0: "The models it learned from took 5.5 minutes more.",
    }
    for needed, sentence in sentences.items():
        card["training"] |= {"needed_minutes": needed} if needed else {}
        (model / "card.json").write_text(json.dumps(card))
        succeed("export", tmp_path / "taught", tmp_path / "own")
        assert ("needed_minutes" in load_card(tmp_path / "own").training) == bool(needed)
        readme = (tmp_path / "own" / "README.md").read_text()
        assert sentence in readme
        figures = card["figures"]["heads"]["original"]
        assert "Its teacher tiny (0.0 million parameters)" in readme
        accuracy = f"accuracy of {figures['accuracy']:.1%} (original, {figures['count']} pictures)."
        assert accuracy in readme


def test_whole_photos_are_measured_a_missed_face_is_an_error(model: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(skimage.data.astronaut()).save(photos / "face.png")
    Image.fromarray(skimage.data.coffee()).save(photos / "none.png")
    Image.fromarray(skimage.data.rocket()).save(photos / "unlabelled_1.png")
    lines = ("file,expression", "face.png,happy", "none.png,happy", "unlabelled_1.png,")
    (photos / "labels.csv").write_text("\n".join(lines))
    sheet = tmp_path / "sheet.png"
    options = ("--model", model, "--margins", "0,0.1", "--sheet", sheet, "--most", "1")
    first, second = map(json.loads, succeed("evaluate-photos", photos, *options).splitlines())
    assert (first["found"], first["margin"], second["margin"]) == (0.5, 0.0, 0.1)
    assert first["accuracy"] <= 0.5
    assert (first["count"], first["labels"]) == (2, {"happy": 2})
    assert Image.open(sheet).size == (8 * 150, 150)


def test_pictures_in_both_splits_are_refused_or_left_out_and_a_rare_class_is_repeated(
    recipe: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copyfile(data / "validation" / "sad" / "0.png", data / "train" / "sad" / "copy.png")
    for message in ("are in the validation split too", "copy.png"):
        fail(message, "fit", recipe, "--out", tmp_path / "refused")
    changes = ("data.leakage=drop", "data.oversample.sad=3", "schedule.epochs=1")
    fit(recipe, tmp_path / "run", *changes)
    # 40 happy and three times 40 sad ones, in batches of 8.
    assert read_history(tmp_path / "run")[-1]["step"] == 20


def test_a_network_can_learn_the_position_of_a_face(recipe: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    files = [path.relative_to(data).as_posix() for path in data.glob("*/happy/*.png")]
    rows = [f"{file},0.1,0,0,0,1" for file in files]
    (data / "places.csv").write_text("\n".join(["file,x,y,size,sine,cosine", *rows]))
    recipe.write_text(f'{recipe.read_text()}[heads.place]\ntargets = "places"\n')
    fit(recipe, tmp_path / "run", "schedule.epochs=1")
    exported = succeed("export", tmp_path / "run", tmp_path / "model")
    assert "tiny, place: validation centre" in exported

    (data / "places.csv").unlink()
    fail("there is no places.csv", "fit", recipe, "--out", tmp_path / "refused")


def test_too_small_a_disk_is_refused_before_training(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    fail("has 0 MB free; this training needs 1 MB", "fit", recipe, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("error", "told"),
    [(KeyboardInterrupt(), "Interrupted."), (OSError(28, "No space left on device"), "Make room.")],
)
def test_a_fit_that_is_interrupted_says_how_to_resume_it(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, told: str
) -> None:
    def stop(*_: object) -> None:
        raise error

    monkeypatch.setattr("training.runs.save_checkpoint", stop)
    result = run("fit", recipe, "--out", tmp_path / "run")
    resuming = f"Resume it by: python -m training fit --resume {tmp_path / 'run'}"
    assert f"{told} {resuming}" in result.output
    assert result.exit_code == (130 if "Interrupted" in told else 1)


def test_an_ablation_sets_switches_beside_errors_and_seeds(recipe: Path, tmp_path: Path) -> None:
    for number in range(10):
        (recipe.parent / "data" / "validation" / "sad" / f"{number}.png").unlink()
    compared = ablation.Ablation(
        recipe=str(recipe),
        common={"schedule.epochs": 8},
        seeds=[2],
        notes=["Pictures are made."],
        variants={"training": {"schedule.learning_rate": 0.0}},
    )
    results = tmp_path / "results"
    rows = ablation.ablate(compared, "the command", tmp_path, results)
    assert [row["left out"] for row in rows] == ["nothing", "nothing, seed 2", "training"]
    whole, other, untrained = rows
    assert whole["original: lost"] == whole["original: error"] == 0
    lost = whole["original"] - untrained["original"]
    assert untrained["original: lost"] == pytest.approx(lost, abs=2e-4)
    # The untrained network answers one class only, of which there are 20 pictures of 30.
    assert untrained["original"] in (0.3333, 0.6667)
    assert untrained["original (balanced)"] == 0.5
    assert 0 < whole["original (changed)"] <= 1

    written = read_csv(results / "results.csv")
    assert [row["left out"] for row in written] == [row["left out"] for row in rows]
    report = (results / "report.md").read_text()
    assert "`the command`" in report
    assert "Pictures are made." in report
    assert f"| training | {untrained['original']:.1%} (" in report
    changed = 100 * abs(other["original: lost"])
    assert f"than what other seeds changed of it (in points: original {changed:.1f}" in report
    helped = next(line for line in report.splitlines() if line.startswith("| training |"))
    assert "| helps original, original (balanced)" in helped


def test_a_run_of_another_recipe_is_not_taken_for_an_ablation_s(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "run", tmp_path / "nothing")
    changed = {"schedule.epochs": 3, "seed": 2}
    other = ablation.Ablation(recipe=str(made / "tiny.toml"), common=changed, variants={})
    with pytest.raises(DataError, match="was fitted by another recipe"):
        ablation.ablate(other, "", tmp_path, tmp_path / "results")


def test_a_model_is_measured_on_pictures_all_of_which_it_knows(model: Path, recipe: Path) -> None:
    data = recipe.parent / "data"
    shutil.rmtree(data / "validation")
    shutil.copytree(data / "train", data / "validation")
    own = json.loads(succeed("evaluate", model, data))["heads"]["original"]
    assert own["count"] == 80
    assert own["without_training_faces"] == {"count": 0}


def test_a_training_without_progress_ends_early_and_shows_its_curves_in_tensorboard(
    recipe: Path, tmp_path: Path
) -> None:
    run, changes = tmp_path / "run", ("schedule.patience=1", "schedule.learning_rate=0.0")
    options = [f"--set={change}" for change in changes]
    succeed("fit", recipe, "--out", run, "--tensorboard", *options)
    assert len(read_history(run)) == 2
    assert list((run / "logs").glob("events.out.tfevents.*"))
    assert "best epoch" in (run / "report.md").read_text()


def test_the_best_epoch_by_loss_is_kept_beside_the_last(recipe: Path, tmp_path: Path) -> None:
    # A rate far too high: the loss grows after some epoch, and the best is not the last.
    folder = tmp_path / "run"
    growing = "schedule.progressive_sizes=[[0.5, 16], [1.0, 24]]"
    diverging = ("schedule.optimizer=adam", "schedule.learning_rate=0.3", "schedule.patience=1")
    kept = ("schedule.monitor=loss", "schedule.keep_best=true")
    fit(recipe, folder, *diverging, growing, *kept)
    history = read_history(folder)
    losses = [row["validation_loss"] for row in history]
    assert len(losses) - 1 - int(np.argmin(losses)) == 1
    best, last = (keras.saving.load_model(folder / name) for name in ("best.keras", "model.keras"))
    assert not np.array_equal(first_kernel(best), first_kernel(last))
    assert 0 <= history[-1]["accuracy_original"] <= 1


def assert_other_bodies_fail(recipe: Path, folder: Path, start: Path) -> None:
    changes = (f"--set=network.init_from={start}", "--set=network.options.widths=[8, 24]")
    fail("has another body", "fit", recipe, "--out", folder / "other", *changes)


def test_a_network_begins_as_a_finished_one(made: Path, recipe: Path, tmp_path: Path) -> None:
    first = made / "run"
    start = (f"network.init_from={first}", "schedule.learning_rate=0.0", "schedule.epochs=1")
    fit(recipe, tmp_path / "second", *start)
    one, other = (first_kernel(load_run(run)[1]) for run in (first, tmp_path / "second"))
    np.testing.assert_array_equal(one, other)
    assert_other_bodies_fail(recipe, tmp_path, first)


def test_a_network_begins_as_a_served_model_whose_normalisation_was_folded(
    recipe: Path, model: Path, tmp_path: Path
) -> None:
    start = (f"network.init_from={model}", "schedule.learning_rate=0.0", "schedule.epochs=1")
    fit(recipe, tmp_path / "begun", *start, "schedule.ema_decay=0.0")
    served = load_classifier(model, "keras").network
    assert isinstance(served, KerasNetwork)
    crops = np.random.default_rng(1).integers(0, 256, (64, 24, 24, 1), np.uint8)
    features = [
        keras.Model(network.inputs, network.get_layer(index=-3).output).predict(crops, verbose=0)
        for network in (served.model, load_run(tmp_path / "begun")[1])
    ]
    # The moving moments have seen a few batches of training pictures since.
    assert np.corrcoef(*(values.ravel() for values in features))[0, 1] > 0.95
    assert_other_bodies_fail(recipe, tmp_path, model)
