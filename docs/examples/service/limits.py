"""A rate limit in front of the forms, in the memory of one process.

It keeps floods away from the password hash and the database. The limit that counts for codes is
vmfa's own: it is stored, and holds for all processes together. With several processes, let your
proxy do what this module does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import ceil
from threading import Lock

MAX_KEYS = 10_000


class RateLimit:
    """Permits *count* requests in *seconds* for each key, spread evenly after the first burst."""

    def __init__(
        self, count: int, seconds: float, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._interval = seconds / count
        self._seconds = seconds
        self._clock = clock
        self._lock = Lock()
        self._full_at: dict[str, float] = {}  # when the key has its whole burst again

    def wait(self, key: str) -> int:
        """Count a request; return 0 if it is permitted, or else the seconds to wait."""
        now = self._clock()
        with self._lock:
            full_at = max(self._full_at.get(key, now), now) + self._interval
            wait = full_at - now - self._seconds
            if wait > 0:
                return ceil(wait)
            if len(self._full_at) >= MAX_KEYS:
                self._full_at = {k: at for k, at in self._full_at.items() if at > now}
            if len(self._full_at) < MAX_KEYS:
                self._full_at[key] = full_at
        return 0
