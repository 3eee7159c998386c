"""An exception between any two instructions of the stores, as a signal handler raises it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import pytest

import vmfa.stores

FOLDER = str(Path(vmfa.stores.__file__).parent)


class Interrupt(BaseException):
    """What the signal handler raises."""


class Interrupter:
    """Calls a function and raises before its *nth* instruction in the modules of the stores.

    ``where`` is then the function and the line. The instructions of functions in *outermost* are
    not interrupted.
    """

    def __init__(self, nth: int, act: Callable[[], None] | None = None) -> None:
        if sys.version_info[:2] == (3, 12):
            pytest.skip("CPython 3.12 can crash when a trace function raises")
        self._left = nth
        self._act = act
        self.where = ""

    def __call__(self, work: Callable[[], Any]) -> Any:
        """Call *work* in a thread of its own.

        CPython can lose track of the handled exception when a trace function raises. That ends
        with the thread, and a lock that stays locked is not hidden by its owner.
        """
        results: list[Any] = []
        errors: list[BaseException] = []

        def run() -> None:
            sys.settrace(self._trace)
            try:
                results.append(work())
            except BaseException as error:  # noqa: BLE001  # raised again below
                errors.append(error)
            finally:
                sys.settrace(None)

        thread = Thread(target=run)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(FOLDER):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            self._left -= 1
            if self._left == 0:
                self.where = f"{frame.f_code.co_name}:{frame.f_lineno}"
                sys.settrace(None)
                if self._act is None:
                    raise Interrupt
                self._act()
        return self._trace


def interrupted_everywhere(
    work: Callable[[], Any], check: Callable[[str, BaseException | None], None], step: int = 1
) -> int:
    """Interrupt *work* before each of its instructions; *check* after each time.

    Return how many instructions there were.
    """
    return in_a_thread(lambda: _interrupt_everywhere(work, check, step))


def in_a_thread(work: Callable[[], Any]) -> Any:
    """Return what *work* returns in a thread of its own.

    An exception that is raised between two instructions of an ``except`` clause leaves the thread
    with a handled exception for good, which would become the context of later ones.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def _interrupt_everywhere(
    work: Callable[[], Any], check: Callable[[str, BaseException | None], None], step: int
) -> int:
    nth = 1
    while True:
        interrupter = Interrupter(nth)
        error: BaseException | None = None
        try:
            interrupter(work)
        except Interrupt as raised:
            error = raised
        if not interrupter.where:
            return nth
        check(interrupter.where, error)
        nth += step
