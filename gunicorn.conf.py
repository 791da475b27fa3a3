"""Set gunicorn up. `make serve` reads it."""

import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

from app.settings import Settings, count_processors
from app.vision.cards import ModelError

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
# A worker holds its own models (about 100 MB); more workers than cores only queue elsewhere.
workers = int(os.environ.get("WEB_CONCURRENCY", min(4, count_processors())))
# The application shares out the live sockets among the workers.
os.environ["WEB_CONCURRENCY"] = str(workers)
# Each worker counts for /metrics in a file here, in memory where the system has such a folder.
memory = Path("/dev/shm")  # nosec B108
memory_folder = str(memory) if memory.is_dir() else None
counts = tempfile.mkdtemp(prefix="raut-", dir=memory_folder)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
# Slow clients hold no thread. A live socket holds one as long as it is open, so these come on top
# and requests keep their 8.
worker_class = "app.web.worker.PatientWorker"
threads = 8 + Settings().streams_per_worker
timeout = 60
control_socket_disable = True
# Where each worker shows that it is alive, under random names; in memory, so that the file system
# may be read-only.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nosec B108
# Nothing of a request is written down but by the application, which logs no file names.
accesslog = None


def on_starting(server):
    """Refuse to start without sound models, once and in words, not once for each worker.

    In a process of its own: workers forked from one that has run ONNX Runtime hang when they end.
    """
    check = multiprocessing.get_context("fork").Process(target=_load_models)
    check.start()
    check.join()
    if check.exitcode:
        on_exit(server)
        sys.exit(check.exitcode)


def _load_models():
    """Load the models, or say what is wrong; a worker goes on without an inference server."""
    from app.catalog import load_analyzer

    try:
        load_analyzer(Settings())
    except ModelError as error:
        sys.exit(f"Raut can't start: {error}")


def post_worker_init(worker):
    """Let live sockets say goodbye when their worker is told to end."""
    # Imported by the workers only, as the counts of /metrics belong to processes.
    from app.web.stream import STREAMS

    worker.wsgi.extensions[STREAMS].goes_on = lambda: worker.alive


def child_exit(server, worker):
    """Count no more streams of a worker that has ended."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server):
    """Leave nothing of the counts."""
    shutil.rmtree(counts, ignore_errors=True)


def when_ready(server):
    """Tell where the pages are."""
    print(f"Raut is at http://{bind}", flush=True)
