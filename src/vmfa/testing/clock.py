"""A clock for tests that moves only when it is set."""

from __future__ import annotations


class FrozenClock:
    """Unix time, in seconds, that moves only when it is told to. Give it to a registry as its *clock*."""

    def __init__(self, at: float = 1_700_000_010) -> None:
        self.at: float = at

    def __call__(self) -> float:
        return self.at

    def set(self, at: float) -> None:
        self.at = at

    def advance(self, seconds: float) -> None:
        self.at += seconds
