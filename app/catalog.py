"""Load what the settings name: one way for the server, its start-up check and the command line."""

from app.settings import Settings
from app.vision.analyzer import FaceAnalyzer


def load_analyzer(settings: Settings) -> FaceAnalyzer:
    """Return the analyzer that the settings describe, its models verified, loaded and run once.

    Raises `app.vision.cards.ModelError` where a model is missing, altered or unreadable.
    """
    return FaceAnalyzer.load(
        settings.models, settings.runtime, settings.threads, settings.expression_labels
    )
