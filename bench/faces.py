"""Measure which faces of hard-faces are found, beside MTCNN (Zhang et al. 2016)."""

import tempfile
from functools import partial
from pathlib import Path

import click
import cv2
import numpy as np

from app.paths import MODELS
from app.vision.detection.detector import EFFORTS, FaceDetector
from bench.drivers import Driver, started
from bench.environments import MTCNN, install_peer
from training.datasets.hard_faces import read_hard_photos, rotated_box
from training.evaluate import detection, face_kinds


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Write tables here.")
@click.option("--models", type=click.Path(path_type=Path, exists=True), default=MODELS)
@click.option("--environments", type=click.Path(path_type=Path), default=Path("runs/peers"))
def faces(data: Path, out: Path, models: Path, environments: Path) -> None:
    """Measure the recall of Raut, plain Haar and MTCNN by kind of face, on one core."""
    ours = FaceDetector.load(models)
    detectors: dict[str, detection.Detector] = {"haar": detection.plain_haar()}
    detectors |= {effort: partial(detection.detect_faces, ours, effort) for effort in EFFORTS}
    command = install_peer(MTCNN, environments).command
    with started(command) as driver, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photo.png"
        detectors["mtcnn"] = partial(_ask, driver, file)
        results = list(face_kinds.judge_photos(read_hard_photos(data, "validation"), detectors))
    face_kinds.write_tables(*face_kinds.summarize(results), out)
    click.echo((out / "README.md").read_text())


def _ask(driver: Driver, file: Path, pixels: np.ndarray) -> list[detection.Detection]:
    cv2.imwrite(str(file), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    _, answer = driver.analyze(file)
    return [(rotated_box(*box), None) for box in answer["faces"]]
