"""Return whether a server should be sent more: not once it leaves, nor while it refuses most."""

from collections.abc import Callable

from app.errors import RautError
from app.web.server.admission import RETRY_SECONDS, AdmissionQueue
from app.web.server.metrics import OVERLOADED, count_overloaded


class Readiness:
    """Know of this process whether it goes on, and of all workers whether they are overloaded."""

    def __init__(self, admission: AdmissionQueue, workers: int) -> None:
        self.is_running: Callable[[], bool] = lambda: True
        self._admission = admission
        self._workers = workers

    def check(self) -> None:
        """Raise `RautError`, `draining` or `overloaded`, where nothing should be sent here."""
        self.check_running()
        self.publish_load()
        # One that still has room is who takes the next connection.
        if count_overloaded() >= self._workers:
            raise RautError(
                "overloaded",
                "All turns are taken, and most photos have been refused for some seconds.",
                retry_after=RETRY_SECONDS,
            )

    def check_running(self) -> None:
        """Raise `RautError` with the code `draining` once the process was told to end."""
        if not self.is_running():
            raise RautError(
                "draining",
                "This server is about to end. Another one answers, or this one soon again.",
                retry_after=RETRY_SECONDS,
            )

    def publish_load(self) -> None:
        """Report the other workers whether this one is overloaded."""
        OVERLOADED.set(self._admission.overloaded)
