import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from tests.training.recipes import fail, make_pictures, succeed
from training.recipe import RECIPES, load_recipe
from training.runs import read_csv, write_csv

VOTES = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def write_fer2013(path: Path, header: str = "emotion,Usage,pixels") -> None:
    """Write a table of one picture a split and a fourth that is no face."""
    names = [name.strip() for name in header.split(",")]
    rows = []
    for emotion, usage in ((0, "Training"), (3, "PublicTest"), (6, "PrivateTest"), (4, "Training")):
        pixels = " ".join(str((emotion * 30 + index) % 256) for index in range(48 * 48))
        fields = {"emotion": str(emotion), "Usage": usage, "pixels": pixels}
        rows.append(",".join(fields[name] for name in names))
    path.write_text("\n".join([header, *rows]) + "\n")


def prepare(name: str, *arguments: str | Path) -> dict[str, int]:
    """Prepare data; return the counts that are printed."""
    lines = succeed("data", "prepare", name, *arguments).splitlines()
    return {what: int(count) for count, what in (line.split(maxsplit=1) for line in lines)}


def pack(folder: Path, form: str) -> Path:
    return Path(shutil.make_archive(str(folder), form, folder.parent, folder.name))


def refuse(message: str, name: str, *arguments: str | Path) -> None:
    fail(message, "data", "prepare", name, *arguments)


@pytest.mark.parametrize("header", ["emotion,pixels,Usage", "emotion, Usage, pixels"])
def test_kaggle_s_table_becomes_folders(tmp_path: Path, header: str) -> None:
    write_fer2013(tmp_path / "fer2013.csv", header)
    prepare("fer2013", tmp_path / "fer2013.csv", tmp_path / "out")
    pictures = sorted((tmp_path / "out").glob("*/*/*.png"))
    folders = ["test/neutral", "train/angry", "train/sad", "validation/happy"]
    assert [f"{p.parts[-3]}/{p.parts[-2]}" for p in pictures] == folders
    happy = np.asarray(Image.open(pictures[3]))
    assert happy[0, :3].tolist() == [90, 91, 92]


@pytest.mark.parametrize("form", ["zip", "gztar"])
def test_kaggle_s_archive_is_taken_as_downloaded(tmp_path: Path, form: str) -> None:
    (tmp_path / "fer2013").mkdir()
    table = tmp_path / "fer2013" / "fer2013.csv"
    write_fer2013(table)
    table.write_text(table.read_text(), encoding="utf-8-sig")
    archive = pack(tmp_path / "fer2013", form)
    counts = prepare("fer2013", archive, tmp_path / "out")
    assert counts == {"train": 2, "validation": 1, "test": 1}

    archive.write_bytes(archive.read_bytes()[:500])
    refuse("A download may have been cut off.", "fer2013", archive, tmp_path / "cut")


def test_of_the_competition_s_training_table_a_stated_share_is_held_out(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    pixels = (" ".join(map(str, random.integers(0, 256, 48 * 48))) for _ in range(20))
    rows = [f"{number % 2 * 3},{each}" for number, each in enumerate(pixels)]
    (tmp_path / "train.csv").write_text("\n".join(["emotion,pixels", *rows]))
    counts = prepare("fer2013", tmp_path / "train.csv", tmp_path / "out", "--validation", "0.2")
    assert counts == {"train": 16, "validation": 4}
    assert len(list(tmp_path.glob("out/validation/happy/*"))) == 2


def test_ferplus_leaves_out_what_is_no_face_and_brings_the_votes(tmp_path: Path) -> None:
    write_fer2013(tmp_path / "fer2013.csv")
    rows = [
        f"Training,fer0000000.png,{'1,' * 9}0",
        f"PublicTest,fer0000001.png,{'0,8,' + '0,' * 7}0",
        f"PrivateTest,fer0000002.png,{'9,' + '0,' * 8}0",
        f"Training,,{'0,' * 9}10",
    ]
    votes = tmp_path / "fer2013new.csv"
    votes.write_text("\n".join([f"Usage,Image name,{VOTES}", *rows]) + "\n")
    counts = prepare("fer2013", tmp_path / "fer2013.csv", tmp_path / "out", "--votes", votes)
    assert counts["skipped: no face, says FER+"] == 1
    rated = read_csv(tmp_path / "out" / "ferplus.csv")
    assert [Path(row["file"]).parts[0] for row in rated] == ["train", "validation", "test"]
    assert rated[1]["happiness"] == "8"
    assert not list(tmp_path.glob("out/train/sad/*"))


@pytest.mark.parametrize(
    ("column", "value", "answer"),
    [
        ("emotion", "9", "row 2: emotion must be from 0 to 6, not '9'"),
        ("emotion", "glad", "row 2: emotion must be from 0 to 6, not 'glad'"),
        ("Usage", "Test", "row 2: Usage must be Training, PublicTest or PrivateTest, not 'Test'"),
        ("pixels", "1 2 3", "row 2: pixels must be 2304 numbers from 0 to 255"),
        ("pixels", "256 " * 2304, "row 2: pixels must be 2304 numbers from 0 to 255"),
        ("pixels", "x " * 2304, "row 2: pixels must be 2304 numbers from 0 to 255"),
    ],
)
def test_bad_values_are_told_by_row(tmp_path: Path, column: str, value: str, answer: str) -> None:
    write_fer2013(tmp_path / "fer2013.csv")
    rows = read_csv(tmp_path / "fer2013.csv")
    rows[1][column] = value
    write_csv(tmp_path / "fer2013.csv", rows)
    refuse(answer, "fer2013", tmp_path / "fer2013.csv", tmp_path / "out")


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("fer2013.csv", "lacks the columns emotion, pixels of"),
        ("votes.csv", "votes.csv lacks the columns"),
        ("no text", "fer2013.csv can't be read as CSV in UTF-8"),
        ("cut off", "pixels must be 2304 numbers from 0 to 255"),
    ],
)
def test_a_table_that_breaks_off_or_has_another_form_is_refused(
    tmp_path: Path, fault: str, answer: str
) -> None:
    table, votes = tmp_path / "fer2013.csv", tmp_path / "votes.csv"
    write_fer2013(table)
    written = table.read_bytes()
    contents = {"no text": b"\xff\xfe\0\0", "cut off": written[:20_000]}
    table.write_bytes(contents.get(fault, written))
    votes.write_text("")
    if fault.endswith(".csv"):
        (tmp_path / fault).write_text("a\n1\n2\n3\n4\n")
    options = ("--votes", votes) if fault == "votes.csv" else ()
    refuse(answer, "fer2013", table, tmp_path / "out", *options)


def write_picture(path: Path, number: int) -> None:
    """Write one of many pictures that don't look alike: a face through a window that moves."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scene = skimage.data.astronaut()
    top, left = divmod(number * 97, 400)
    window = scene[(top * 61) % 400 : (top * 61) % 400 + 100, left : left + 100]
    Image.fromarray(window).resize((64, 64)).save(path)


@pytest.mark.parametrize("form", ["", "gztar", "zip"])
def test_utkface_is_split_by_gender_near_duplicates_together(tmp_path: Path, form: str) -> None:
    source = tmp_path / "UTKFace"
    for number in range(40):
        write_picture(source / f"{20 + number}_{number % 2}_0_2017{number:04}.jpg", number)
    # The same face saved once more, under another age.
    with Image.open(source / "22_0_0_20170002.jpg") as picture:
        picture.save(source / "61_0_0_20179999.jpg", quality=80)
    write_picture(source / "39_1_20170116.jpg", 41)  # There are some without a race.
    (source / "30_1_0_20178888.jpg").write_bytes(b"half a pic")
    counts = prepare("utkface", pack(source, form) if form else source, tmp_path / "out")
    assert counts["train"] + counts["validation"] == 41
    assert counts["skipped: unreadable"] == 1
    assert counts["skipped: no age, gender and race in the name"] == 1
    folders = {p.name: p.parts[-3:-1] for p in tmp_path.glob("out/*/*/*")}
    assert len(folders) == 41
    assert folders["22_0_0_20170002.jpg"][0] == folders["61_0_0_20179999.jpg"][0]
    assert {split for split, _ in folders.values()} == {"train", "validation"}
    assert folders["21_1_0_20170001.jpg"][1] == "female"


def test_folders_of_another_habit_are_brought_into_the_form(tmp_path: Path) -> None:
    write_picture(tmp_path / "download" / "Train" / "Happy" / "a.png", 1)
    write_picture(tmp_path / "download" / "val" / "Happy" / "b.png", 2)
    prepare("folders", tmp_path / "download", tmp_path / "out")
    assert (tmp_path / "out" / "train" / "happy" / "a.png").is_file()
    assert (tmp_path / "out" / "validation" / "happy" / "b.png").is_file()


@pytest.mark.parametrize("command", [("prepare", "folders"), ("split",)])
def test_a_missing_validation_split_is_cut_off(tmp_path: Path, command: tuple[str, ...]) -> None:
    source = tmp_path / "download" / ("train" if "prepare" in command else "")
    make_pictures(source, 10, ("glad", "sad"))
    if "prepare" in command:
        make_pictures(tmp_path / "download" / "test", 2, ("glad", "sad"), seed=1)
    picture = Image.open(source / "sad" / "0.png")
    picture.save(source / "sad" / "again.jpg", quality=95)
    (source / "glad" / "Thumbs.db").write_bytes(b"")
    archive = pack(tmp_path / "download", "zip")
    output = succeed("data", *command, archive, tmp_path / "out", "--validation", "0.25")
    assert "1  skipped: no picture by the name" in output
    train, test = (len(list(tmp_path.glob(f"out/{split}/*/*"))) for split in ("train", "test"))
    assert train in (15, 16)
    assert test == (4 if "prepare" in command else 0)
    twins = [path.parts[-3] for path in tmp_path.glob("out/*/sad/*") if path.stem in ("0", "again")]
    assert len(set(twins) - {"test"}) == 1
    too_few = ("--validation", "0.01")
    fail("too few to hold out 1%", "data", *command, archive, tmp_path / "none", *too_few)


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ("schedule.epoch=3", "schedule.epoch: there is no such key. Did you mean 'epochs'?"),
        ("scedule.epochs=3", "scedule: there is no such key. Did you mean 'schedule'?"),
        ("heads.original.smoothing=0.1", "Did you mean 'label_smoothing'?"),
        ("schedule.epochs=many", "schedule.epochs: Input should be a valid integer"),
        ("default_head=other", "default_head: 'other' is no head. Heads: original."),
        ("heads.original.guarded_by=child", "heads.original.guarded_by: 'child' is no head."),
        ("data.oversample.happy=0", "data.oversample.happy: Input should be greater than 0"),
        ("data.oversample.joy=2", "There is no class 'joy' to repeat. Classes: happy, sad."),
        ("epochs", "--set takes key=value"),
        ("data.folder=/nowhere", "There is no folder /nowhere/train."),
        (
            "distillation.teacherz=0.4",
            "distillation.teacherz: there is no such key. Did you mean 'teachers'?",
        ),
        ("data.ood.cups.windw=0.4", "Did you mean 'window'?"),
        ("data.ood.a={folder='a',jigsaw=500}", "a.jigsaw: 24 pixels can't be cut into 500 pieces"),
        ("heads.original.ood_fpr=0.1", "ood_fpr: there are no pictures to train it on; add some"),
        ("data.subset.train=1.0", "give a whole number of pictures, 2 or more, or a share below 1"),
        ("data.subset.trian=5", "data.subset.trian: Input should be 'train' or 'validation'"),
        ("network.name=vgh", "network.name: there is no network 'vgh'. Did you mean 'vgg'?"),
        ("network.options.widhts=[1]", "network.options.widhts: there is no such option of vgg."),
        ("network.options={widths = [8]}", "network.options.depths is missing: vgg needs it."),
        (
            'network={name="truncated_backbone",options={base="vgg61",last="block1"}}',
            "network.options.base: there is no 'vgg61' here. Did you mean 'vgg16'?",
        ),
        ("network.init_from=models/smile", "needs the model models/smile, which isn't there."),
        ("schedule.epochs=0", "schedule.epochs: Input should be greater than 0"),
        ("schedule.batch=0", "schedule.batch: Input should be greater than 0"),
        ("schedule.ema_decay=2", "schedule.ema_decay: Input should be less than 1"),
        (
            "schedule.progressive_sizes=[[1.0, 16]]",
            "schedule.progressive_sizes: the last one must be data.size, 24",
        ),
        ("schedule.progressive_sizes=[[0.5, 16], [0.9, 24]]", "and the last one be 1.0"),
        ("schedule.progressive_sizes=[[0.7, 16], [0.5, 16], [1.0, 24]]", "the shares must rise"),
        ("name.first=tiny", "name.first: name holds a value, and no keys of its own."),
    ],
)
def test_a_recipe_s_mistake_is_explained_before_training(
    recipe: Path, tmp_path: Path, change: str, answer: str
) -> None:
    fail(answer, "fit", recipe, "--out", tmp_path / "run", "--set", change)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("fault", ["empty class", "unreadable picture"])
def test_unusable_data_is_refused_before_training(recipe: Path, tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "data" / "train" / "sad"
    if fault == "unreadable picture":
        (folder / "0.png").write_bytes(b"no picture")
    else:
        for file in folder.iterdir():
            file.unlink()
    fail(str(folder), "fit", recipe, "--out", tmp_path / "run")


def test_an_unknown_recipe_is_answered_with_those_that_exist() -> None:
    fail("Choose one of clothing, clothing-teacher, expression, ", "fit", "expresion")


def test_cut_outs_are_pasted_on_backgrounds_and_no_source_is_in_both_splits(tmp_path: Path) -> None:
    sources, out = tmp_path / "sources", tmp_path / "things"
    (sources / "clothes").mkdir(parents=True)
    random = np.random.default_rng(1)
    for number in range(5):
        wallpaper = Image.fromarray(random.integers(0, 256, (800, 900, 3), np.uint8))
        wallpaper.save(sources / f"wallpaper-{number}.png")
        thing = np.zeros((40, 40, 4), np.uint8)
        thing[10:30, 10:30] = (255, 0, 0, 255)
        for folder in (sources, sources / "clothes"):
            Image.fromarray(thing).save(folder / f"thing-{number}.png")
    prepare("synthetic-objects", sources, out)
    counts = {split: len(list((out / split).rglob("*.jpg"))) for split in ("train", "validation")}
    # Four of five wallpapers and cut-outs are for training, the clothes for nothing.
    assert counts == {"train": 4 * 12 + 4, "validation": 12 + 1}
    pasted = np.asarray(Image.open(out / "validation" / "things" / "00012.jpg")).astype(int)
    assert (pasted[..., 0] - pasted[..., 1] > 200).mean() > 0.01

    none = tmp_path / "none"
    refuse("and 2 wallpapers", "synthetic-objects", sources / "clothes", none)


def test_a_manual_s_pictures_are_copied_but_for_signs_strips_and_twins(tmp_path: Path) -> None:
    source, out = tmp_path / "manual" / "pages", tmp_path / "manuals"
    source.mkdir(parents=True)
    random = np.random.default_rng(1)
    grains = random.integers(0, 256, (20, 20, 3), np.uint8)
    drawing = Image.fromarray(grains).resize((800, 400), Image.Resampling.NEAREST)
    drawing.save(source / "drawing.png")
    drawing.save(source / "the-same.jpg", quality=90)
    drawing.resize((64, 64)).save(source / "sign.png")
    drawing.resize((900, 240)).save(source / "strip.png")
    Image.fromarray(skimage.data.astronaut()).save(source / "measured-on.png")
    prepare("manuals", tmp_path / "manual", out)
    (copied,) = out.iterdir()
    with Image.open(copied) as picture:
        assert picture.size == (640, 320)

    shutil.rmtree(source)
    refuse("has no pictures of 200 pixels", "manuals", tmp_path / "manual", tmp_path / "none")


def test_tensorflow_starts_without_a_word() -> None:
    code = "import training.fit; import tensorflow as tf; tf.constant(1) + 1"
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert started.stderr == b""


def test_only_the_proposer_takes_pictures_of_any_size() -> None:
    names = (path.stem for path in RECIPES.glob("*.toml"))
    assert [name for name in names if load_recipe(name).takes_any_size] == ["proposer"]


def test_help_recipes_and_data_commands_load_no_tensorflow() -> None:
    modules = "inspection, preparation, synthetic_objects, face_crops, experiment"
    code = (
        "import sys; import training.__main__, training.runs; "
        f"from training.datasets import {modules}; "
        "from training.recipe import load_recipe; load_recipe('expression'); "
        "sys.exit(sorted({'keras', 'tensorflow'} & set(sys.modules)) or 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
