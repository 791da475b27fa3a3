import csv
from pathlib import Path

import numpy as np
import pytest

from tests.training.recipes import fit, kill_when, run, succeed, write_recipe

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own
CHANGES = ("schedule.epochs=4", "schedule.progressive_sizes=[[0.5, 16], [1.0, 24]]")


def figures(folder: Path) -> list[dict[str, str]]:
    """The run's history without the time it took."""
    with (folder / "history.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


def test_a_killed_run_resumes_to_the_figures_of_one_not_killed(
    recipe: Path, tmp_path: Path
) -> None:
    fit(recipe, tmp_path / "unbroken", *CHANGES)
    # Killed somewhere within the third epoch.
    options = [f"--set={change}" for change in CHANGES]
    kill_when("epoch 2", "fit", recipe, "--out", tmp_path / "killed", *options)
    assert len(figures(tmp_path / "killed")) < 4
    # What a kill in the middle of writing a checkpoint leaves must not matter.
    (tmp_path / "killed" / "checkpoint.npz.part").write_bytes(b"half a checkpoint")

    succeed("fit", "--resume", tmp_path / "killed")
    assert figures(tmp_path / "killed") == figures(tmp_path / "unbroken")
    # The very weights too, as the history rounds.
    weights = [np.load(tmp_path / name / "checkpoint.npz") for name in ("killed", "unbroken")]
    for name in set(weights[0].files) - {"position"}:
        np.testing.assert_array_equal(weights[0][name], weights[1][name])


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe of one epoch, and its run."""
    folder = tmp_path_factory.mktemp("one-epoch")
    recipe = write_recipe(folder)
    recipe.write_text(recipe.read_text().replace("epochs = 6", "epochs = 1"))
    fit(recipe, folder / "run")
    return recipe, folder / "run"


@pytest.mark.parametrize("file", ["history.csv", "checkpoint.npz", "model.keras"])
def test_a_run_that_ends_before_a_file_takes_its_name_goes_on_without_it(
    one_epoch: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    def interrupt(path: Path, target: Path) -> Path:
        if target.name == file:
            raise OSError("The machine was switched off.")
        return rename(path, target)

    recipe, unbroken = one_epoch
    rename = Path.replace
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", interrupt)
        assert run("fit", recipe, "--out", tmp_path).exit_code == 1
    assert not (tmp_path / file).exists()
    succeed("fit", "--resume", tmp_path)
    assert figures(tmp_path) == figures(unbroken)
    assert (tmp_path / "model.keras").is_file()
