"""Set gunicorn up. `make serve` reads it."""

import os
import sys

from app.settings import Settings
from app.vision.cards import ModelError

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
# A worker holds its own models (about 100 MB); more workers than cores only queue elsewhere.
workers = int(os.environ.get("WEB_CONCURRENCY", min(4, os.cpu_count() or 1)))
worker_class = "gthread"
threads = 8  # Threads that wait for slow clients cost little; the models' work takes turns anyway.
timeout = 60
control_socket_disable = True
# Nothing of a request is written down but by the application, which logs no file names.
accesslog = None


def on_starting(server):
    """Refuse to start without sound models, once and in words, not once for each worker."""
    from app.vision.analyzer import FaceAnalyzer

    settings = Settings()
    try:
        FaceAnalyzer.load(settings.models, settings.runtime)
    except ModelError as error:
        sys.exit(f"Raut can't start: {error}")


def when_ready(server):
    """Tell where the pages are."""
    print(f"Raut is at http://{bind}", flush=True)
