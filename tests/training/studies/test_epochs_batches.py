import json
import shutil
import sys
from pathlib import Path

import pytest

from app.studies import read_studies
from tests.helpers.processes import list_children
from tests.training.recipes import fail, kill_when, start, succeed
from tests.training.studies.smoke import read_figures, read_report, read_results, study, write_data

pytestmark = pytest.mark.filterwarnings("ignore")  # TensorFlow's own


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of epochs and batches in `work`, beside its data."""
    folder = tmp_path_factory.mktemp("unbroken")
    succeed(*study("expression-epochs-batches", write_data(folder), folder / "work"))
    return folder


def test_epochs_and_batches_are_compared_beside_the_paper(unbroken: Path, tmp_path: Path) -> None:
    work = unbroken / "work"
    assert [row["epochs_run"] for row in read_results(work)] == ["2", "3"]
    report = read_report(work)
    assert "| training accuracy | 90.32% (100 epochs, batch 128) |" in report
    assert "TP / (TP + FP + FN)" in report
    assert "| labelled, answered |" in report
    made = json.loads(next(work.glob("results/*/results.json")).read_text())
    assert made["seed"] == 1
    assert "optuna" in made["versions"]
    (shown,) = read_studies(work).values()
    assert [len(curves["training_loss"]) for curves in shown.histories.values()] == [2, 3]
    for curves, row in zip(shown.histories.values(), shown.rows, strict=True):
        assert {name: row[name] for name in curves} == {n: v[-1] for n, v in curves.items()}

    fail("--resume", *study("expression-epochs-batches", unbroken / "data", work), status=2)

    other = Path(shutil.copytree(unbroken / "data", tmp_path / "other"))
    resumed = study("expression-epochs-batches", other, work, "--resume")
    fail("was fitted by another recipe", *resumed)


def test_a_killed_study_resumes_to_the_unbroken_results(unbroken: Path, tmp_path: Path) -> None:
    chosen = study("expression-epochs-batches", unbroken / "data", tmp_path)
    kill_when("epoch 1", *chosen)  # somewhere within the second epoch
    assert not list(tmp_path.glob("results"))
    succeed(*chosen, "--resume")
    assert read_results(tmp_path) == read_results(unbroken / "work")


def test_ray_gives_local_results_if_a_worker_dies(unbroken: Path, tmp_path: Path) -> None:
    killed, lines = False, []
    by_ray = study("expression-epochs-batches", unbroken / "data", tmp_path, "--engine", "ray")
    with start(*by_ray) as process:
        assert process.stderr
        for line in process.stderr:
            lines.append(line)
            working = [p for p in list_children(process.pid) if "ray::_carry_out" in p.command]
            if "epoch 1" in line and working and not killed:
                working[0].kill()  # in the midst of a training, or of the next
                killed = True
    assert process.returncode == 0, lines
    assert killed
    assert read_results(tmp_path) == read_results(unbroken / "work")
    assert read_figures(tmp_path) == read_figures(unbroken / "work")


def test_a_study_is_shared_by_optuna_or_by_ray_and_ray_must_be_installed(
    unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    by_ray = study("expression-epochs-batches", unbroken / "data", work, "--engine", "ray")
    fail("give one", *by_ray, "--storage", "sqlite:///grid.sqlite", status=2)
    monkeypatch.setitem(sys.modules, "ray", None)
    fail("The engine ray needs ray, which is not installed here.", *by_ray)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "many")
    fail("TF_NUM_INTRAOP_THREADS is 'many'", *by_ray)
