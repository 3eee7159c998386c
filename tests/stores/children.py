"""Work in a forked child, with its own limits and perhaps without root's privileges."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

NOBODY = 65534
SET_TIMEOUT = 30  # seconds until a child that hangs is ended


def fork(work: Callable[[], object]) -> tuple[int, int]:
    """Begin *work* in a child; its process id, and the pipe on which its outcome will come."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # forking beside threads is what is tested
        child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    try:
        os.close(reading)
        signal.alarm(SET_TIMEOUT)
        try:
            outcome: object = work()
        except BaseException:  # noqa: BLE001  # told to the parent
            outcome = RuntimeError(traceback.format_exc())
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(outcome, pipe)
    finally:
        os._exit(0)


def outcome_of(started: tuple[int, int]) -> Any:
    child, reading = started
    with os.fdopen(reading, "rb") as pipe:
        written = pipe.read()
    os.waitpid(child, 0)
    assert written, "the child hung or was killed"
    outcome = pickle.loads(written)
    if isinstance(outcome, RuntimeError):
        raise outcome
    return outcome


def in_children(works: Sequence[Callable[[], object]]) -> list[Any]:
    """The outcomes of all *works*, each in a child of its own, begun together."""
    ready, go = os.pipe()

    def waiting(work: Callable[[], object]) -> Callable[[], object]:
        def begin() -> object:
            os.close(go)
            os.read(ready, 1)  # until the parent closes its end
            return work()

        return begin

    started = [fork(waiting(work)) for work in works]
    os.close(go)
    os.close(ready)
    return [outcome_of(child) for child in started]


def in_child(work: Callable[[], object]) -> Any:
    return outcome_of(fork(work))


def without_privileges(work: Callable[[], object]) -> Any:
    """*work* in a child that file permissions hold for, also where the tests run as root."""

    def dropped() -> object:
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        return work()

    return in_child(dropped)
