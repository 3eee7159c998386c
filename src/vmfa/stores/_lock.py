"""A lock that an exception from a signal handler cannot leave locked.

Python runs signal handlers between any two instructions, so a handler that raises can interrupt
``lock.acquire()`` just before its result is used, and ``with lock:`` just before the lock is
released. The functions here ask the lock itself whether this thread owns it.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar

T = TypeVar("T")


def new_lock() -> Any:
    """Return a lock for the functions of this module."""
    return RLock()


def is_owned(lock: Any) -> bool:
    """Return whether this thread owns *lock*."""
    owned: bool = lock._is_owned()  # noqa: SLF001  # as threading.Condition does
    return owned


def release(lock: Any) -> None:
    """Release *lock* if this thread owns it."""
    if is_owned(lock):
        lock.release()


def run_locked(lock: Any, work: Callable[[], T]) -> T:
    """Call *work* while this thread owns *lock*, and return its result.

    A thread that owns *lock* already keeps it, so a signal handler may call this again.
    """
    if is_owned(lock):
        return work()
    try:
        try:
            lock.acquire()
            return work()
        finally:
            release(lock)
    finally:
        release(lock)  # again, in case an exception interrupted the first attempt
