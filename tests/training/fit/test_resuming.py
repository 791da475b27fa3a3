from pathlib import Path

import numpy as np
import pytest

from tests.training.recipes import fit, kill_when, run, succeed
from training.runs import read_csv

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own
CHANGES = ("schedule.epochs=4", "schedule.progressive_sizes=[[0.5, 16], [1.0, 24]]")


def figures(folder: Path) -> list[dict[str, str]]:
    """The run's history without the time it took."""
    rows = read_csv(folder / "history.csv")
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_killed_run_resumes_to_the_figures_of_one_unbroken(recipe: Path, tmp_path: Path) -> None:
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


def test_a_run_that_ends_before_a_file_takes_its_name_goes_on_without_it(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path, target: Path) -> Path:
        if target.name == missing:
            raise OSError("The machine was switched off.")
        return rename(path, target)

    rename, one_epoch, ended = Path.replace, "schedule.epochs=1", tmp_path / "ended"
    fit(recipe, tmp_path / "unbroken", one_epoch)
    command: list[str | Path] = ["fit", recipe, "--out", ended, "--set", one_epoch]
    for missing in ("checkpoint.npz", "history.csv", "model.keras"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", interrupt)
            assert run(*command).exit_code == 1
        assert not (ended / missing).exists()
        command = ["fit", "--resume", ended]
    succeed(*command)
    assert figures(ended) == figures(tmp_path / "unbroken")
    assert (ended / "model.keras").is_file()
