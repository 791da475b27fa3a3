"""Keep the counts of rate limits where all workers of one server see them."""

import sqlite3
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from limits.storage import Storage

WAIT_SECONDS = 2.0  # A worker holds the file for some microseconds.

TABLE = """
CREATE TABLE IF NOT EXISTS counts (key TEXT PRIMARY KEY, count INTEGER, expires REAL) WITHOUT ROWID
"""
ADD = """
INSERT INTO counts VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET count = count + ?2
RETURNING count
"""


class SQLiteStorage(Storage):
    """Count in an SQLite file: `shared:///path`. Nothing of it is worth keeping over a restart."""

    STORAGE_SCHEME = ["shared"]  # noqa: RUF012 - the base declares it so

    def __init__(self, uri: str, **options: Any) -> None:
        super().__init__(uri, **options)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            urlsplit(uri).path, WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        self._database.execute("PRAGMA journal_mode = MEMORY")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(TABLE)

    @property
    def base_exceptions(self) -> type[Exception]:
        """Return what goes wrong here."""
        return sqlite3.Error

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to a count that ends so many seconds after it began, and return it."""
        # Not the time of day, which may be set back.
        now = time.monotonic()
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("DELETE FROM counts WHERE expires <= ?", (now,))
            (count,) = self._database.execute(ADD, (key, amount, now + expiry)).fetchone()
        return int(count)

    def get(self, key: str) -> int:
        """Return a count, 0 where there is none."""
        return int(self._find(key)[0])

    def get_expiry(self, key: str) -> float:
        """Return the time of day at which a count ends."""
        return time.time() + max(0.0, self._find(key)[1] - time.monotonic())

    def check(self) -> bool:
        """Return whether counting works."""
        self.get("")
        return True

    def reset(self) -> int:
        """Forget all counts, and return how many there were."""
        with self._lock:
            return self._database.execute("DELETE FROM counts").rowcount

    def clear(self, key: str) -> None:
        """Forget one count."""
        with self._lock:
            self._database.execute("DELETE FROM counts WHERE key = ?", (key,))

    def _find(self, key: str) -> tuple[int, float]:
        """Return a count and when it ends, in this machine's running seconds."""
        now = time.monotonic()
        with self._lock:
            found = self._database.execute(
                "SELECT count, expires FROM counts WHERE key = ? AND expires > ?", (key, now)
            ).fetchone()
        return found or (0, now)
