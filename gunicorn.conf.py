"""Set gunicorn up. `make serve` reads it."""

import atexit
import math
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from app.settings import SettingsError, count_processors, read_settings
from app.vision.models.cards import ModelError
from app.web.server.connections import MOST_CONNECTIONS
from app.web.server.logging import LOGGING
from app.web.server.worker import PROTOCOL_SETTINGS

# A worker holds its own models; more workers than cores only queue elsewhere.
# The application shares out the live sockets among the workers.
os.environ.setdefault("WEB_CONCURRENCY", str(min(4, count_processors())))
try:
    settings = read_settings()
except SettingsError as error:
    sys.exit(f"Raut can't start: {error}")
bind = f"127.0.0.1:{settings.port}"
workers = settings.workers
# The workers count for /metrics in files here, and each client's photos for their limit; in memory,
# where the system has such a folder.
memory = Path("/dev/shm")  # nosec B108
memory_folder = str(memory) if memory.is_dir() else None
# A connection takes a descriptor.
_, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most_files, 4 * MOST_CONNECTIONS), most_files))
first_process = os.getpid()
counts = tempfile.mkdtemp(prefix=f"raut-{first_process}-", dir=memory_folder)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = counts
os.environ.setdefault("RAUT_RATE_LIMIT_STORAGE", f"shared://{counts}/limits.sqlite")
worker_class = "app.web.server.worker.Worker"
timeout = 60
globals().update(PROTOCOL_SETTINGS)
# For requests under way, once no more are taken.
graceful_timeout = 30 + math.ceil(settings.drain_seconds)
control_socket_disable = True
# Where each worker shows that it is alive, under random names; in memory, so that the file system
# may be read-only.
worker_tmp_dir = memory_folder
# Nothing of a request is written down but by the application, which logs no file names.
accesslog = None
logconfig_dict = LOGGING
# Which proxies are believed is for RAUT_TRUSTED_PROXIES to say.
forwarded_allow_ips = ""


def on_starting(server):
    """Refuse to start without what serving needs, once and in words, not once for each worker.

    In a process of its own: workers forked from one that has run ONNX Runtime hang when they end.
    """
    check = multiprocessing.get_context("fork").Process(target=_check_needs)
    check.start()
    check.join()
    if check.exitcode:
        sys.exit(check.exitcode)


def _check_needs():
    """Load the models and ask where photos are counted, or say what is wrong.

    A worker goes on without an inference server.
    """
    from app.studies import StudyError, read_studies
    from app.vision.loading import load_analyzer
    from app.web.server.rate_limit import StorageError, check_storage

    try:
        check_storage(settings)
        load_analyzer(settings)
        read_studies(settings.studies)
    except (ModelError, StorageError, StudyError) as error:
        sys.exit(f"Raut can't start: {error}")


def post_worker_init(worker):
    """Let the application know when its worker is told to end."""
    from app.web.server.state import state_of

    state_of(worker.asgi.flask).readiness.is_running = lambda: not worker.leaving


def child_exit(server, worker):
    """Count no more streams of a worker that has ended."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


@atexit.register
def _remove_counts():
    """Leave nothing of the counts, however far the start came; the workers come here too."""
    if os.getpid() == first_process:
        shutil.rmtree(counts, ignore_errors=True)


def when_ready(server):
    """Tell where the pages are."""
    with suppress(OSError):  # The disk that it goes to may be full.
        print(f"Raut is at http://{bind}", flush=True)
