"""Serve the pages and the API: with gunicorn where it runs, with waitress elsewhere."""

import logging.config
import os
import sys

from app.paths import DATA, PACKAGE
from app.settings import Settings


def serve(settings: Settings, host: str, server: str | None = None) -> None:
    """Serve on a host until the process is terminated.

    `server` is "gunicorn", "waitress" or None, which takes waitress only where gunicorn can't be
    imported, as on Windows. gunicorn replaces this process. Raises as `app.create_app` does.
    """
    if server is None:
        server = "gunicorn" if _can_run_gunicorn() else "waitress"
    if server == "gunicorn":
        # gunicorn imports from its working folder first, where another `app` may lie.
        os.environ["RAUT_MODELS"] = str(settings.models.absolute())
        os.environ["RAUT_STUDIES"] = str(settings.studies.absolute())
        os.chdir(PACKAGE.parent)
        config = ["--config", str(DATA / "gunicorn.conf.py"), "--no-control-socket"]
        bind = ["--bind", f"{host}:{settings.port}"]
        command = [sys.executable, "-m", "gunicorn", *config, *bind, "app:create_asgi_app()"]
        os.execv(sys.executable, command)  # nosec B606
    _serve_with_waitress(settings, host)


def _can_run_gunicorn() -> bool:
    try:
        import gunicorn.arbiter  # noqa: F401
    except ImportError:  # It needs fcntl, which Windows lacks.
        return False
    return True


def _serve_with_waitress(settings: Settings, host: str) -> None:
    from waitress import create_server

    from app import create_app
    from app.vision.imaging.memory import return_large_blocks
    from app.web.server.bridge import THREADS
    from app.web.server.logging import LOGGING

    logging.config.dictConfig(LOGGING)
    return_large_blocks()
    # waitress would write long bodies to temporary files, but photos stay in memory. Bodies beyond
    # the app's own limit still reach it, so that they get its problem document.
    most_bytes = 4 * settings.most_body_bytes
    server = create_server(
        create_app(settings),
        host=host,
        port=settings.port,
        threads=THREADS,
        max_request_body_size=most_bytes,
        inbuf_overflow=most_bytes,
        outbuf_overflow=most_bytes,
        clear_untrusted_proxy_headers=False,  # RAUT_TRUSTED_PROXIES decides.
    )
    print(f"Raut is at http://{host}:{server.effective_port}", flush=True)
    server.run()
