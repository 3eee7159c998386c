"""A clock for tests."""

from __future__ import annotations


class FrozenClock:
    """A clock that moves only when a test moves it. Pass it to a registry as its *clock*.

    :param now: Unix time in seconds. The default is the first second of a time step of 30 seconds.
    """

    def __init__(self, now: float = 1_700_000_010) -> None:
        self.now: float = now

    def __call__(self) -> float:
        """Return the Unix time in seconds."""
        return self.now

    def set(self, now: float) -> None:
        """Set the clock.

        :param now: Unix time in seconds, before or after the present one.
        """
        self.now = now

    def advance(self, seconds: float) -> None:
        """Move the clock forward, or back if *seconds* is negative."""
        self.now += seconds
