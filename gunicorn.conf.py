"""Set gunicorn up. `make serve` reads it."""

import atexit
import math
import multiprocessing
import os
import resource
import shutil
import sys
from contextlib import suppress

from app.settings import SettingsError, count_processors, read_settings
from app.vision.imaging.memory import return_large_blocks
from app.vision.models.cards import ModelError
from app.web.server import counts
from app.web.server.connections import MOST_CONNECTIONS
from app.web.server.logging import LOGGING
from app.web.server.sandbox import SandboxError, confine_worker, harden_process
from app.web.server.worker import PROTOCOL_SETTINGS

# A worker holds its own models; more workers than cores only queue elsewhere.
# The application shares out the live sockets among the workers.
os.environ.setdefault("WEB_CONCURRENCY", str(min(4, count_processors())))
first_process = os.getpid()
# The workers count for /metrics in files here, and each client's photos for their limit.
folder = counts.open_counts()


@atexit.register
def _remove_counts():
    """Leave nothing of the counts, however far the start came; the workers come here too."""
    if os.getpid() == first_process:
        shutil.rmtree(folder, ignore_errors=True)


os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
os.environ.setdefault("RAUT_RATE_LIMIT_STORAGE", f"shared://{folder}/limits.sqlite")
try:
    settings = read_settings()
except SettingsError as error:
    sys.exit(f"Raut can't start: {error}")
bind = f"127.0.0.1:{settings.port}"
workers = settings.workers
# A connection takes a descriptor.
_, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most_files, 4 * MOST_CONNECTIONS), most_files))
worker_class = "app.web.server.worker.Worker"
timeout = 60
globals().update(PROTOCOL_SETTINGS)
# For requests under way, once no more are taken.
graceful_timeout = 30 + math.ceil(settings.drain_seconds)
control_socket_disable = True
# Where each worker shows that it is alive, under random names; in memory, so that the file system
# may be read-only.
worker_tmp_dir = str(counts.memory_folder())
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
        confine_worker(settings, folder)
        check_storage(settings)
        load_analyzer(settings)
        read_studies(settings.studies)
    except (ModelError, SandboxError, StorageError, StudyError) as error:
        sys.exit(f"Raut can't start: {error}")


def post_fork(server, worker):
    """Set the new process up before it loads anything: memory, counts, and what it may do."""
    harden_process()
    return_large_blocks()
    if not counts.reserve(folder, worker.pid):
        # Decided before prometheus_client is imported.
        del os.environ["PROMETHEUS_MULTIPROC_DIR"]
        server.log.warning("%s is full: this worker's counts are its own", folder.parent)
    server.log.info("Sandbox: %s", confine_worker(settings, folder))


def post_worker_init(worker):
    """Let the application know when its worker is told to end."""
    from app.web.server.state import state_of

    state_of(worker.asgi.flask).readiness.is_running = lambda: not worker.leaving


def child_exit(server, worker):
    """Keep of a worker that has ended what it counted."""
    counts.release(folder, worker.pid)


def when_ready(server):
    """Tell where the pages are."""
    with suppress(OSError):  # The disk that it goes to may be full.
        print(f"Raut is at http://{bind}", flush=True)
