"""Load the analyzer that the settings describe, for the server and the command line."""

import logging
from dataclasses import replace

from app.settings import Settings
from app.vision.models.cards import ModelError
from app.vision.models.onnx_network import OnnxNetwork
from app.vision.models.selection import Needed
from app.vision.pipeline import FaceAnalyzer

logger = logging.getLogger(__name__)


def load_analyzer(
    settings: Settings, patient: bool = False, needed: Needed | None = None
) -> FaceAnalyzer:
    """Return the analyzer that the settings describe, its models verified, loaded and run once.

    With an inference server its models are checked, too. `patient` goes on without an answer from
    it: each photo is refused until it answers. `needed` is as in `FaceAnalyzer.load`. Raises
    `ModelError` where a model is missing, altered or unreadable, or where the server has another.
    """
    analyzer = FaceAnalyzer.load(
        settings.models,
        "onnx" if settings.runtime == "remote" else settings.runtime,
        settings.threads,
        settings.label_set,
        needed,
        settings.detector,
        settings.mirror_averaging,
    )
    if settings.runtime == "remote":
        return _move_to_server(analyzer, settings, patient)
    return analyzer


def _move_to_server(local: FaceAnalyzer, settings: Settings, patient: bool) -> FaceAnalyzer:
    try:
        from app.vision.models.kserve.client import (
            InferenceError,
            KServeClient,
            ModelMismatchError,
        )
        from app.vision.models.kserve.network import KServeNetwork
    except ImportError as error:
        raise ModelError(
            f"RAUT_RUNTIME=remote needs {error.name}, which is not installed here. "
            "Install requirements/remote.lock."
        ) from error
    server = KServeClient(
        str(settings.inference_url),
        settings.inference_timeout,
        settings.breaker_threshold,
        settings.breaker_reset,
    )
    classifiers, networks = {}, []
    for name, classifier in local.classifiers.items():
        assert isinstance(classifier.network, OnnxNetwork)
        networks.append(KServeNetwork(server, classifier.card, classifier.network))
        classifiers[name] = replace(classifier, network=networks[-1])
    # The face classifier stays local: it runs several times a photo, one after another.
    analyzer = replace(local, classifiers=classifiers)
    try:
        for network in networks:
            network.check()
    except InferenceError as error:
        message = f"The inference server at {server.url}: {error}"
        if not patient or isinstance(error, ModelMismatchError):
            raise ModelError(message) from error
        logger.warning("%s Photos are refused until it answers.", message)
    return analyzer
