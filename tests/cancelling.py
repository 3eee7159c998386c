"""Cancel a coroutine at any of its awaits, as a web server does when its client hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class CancelledAt:
    """Await *work*; its task is canceled while it waits for the *nth* time."""

    def __init__(self, work: Coroutine[Any, Any, Any], nth: int) -> None:
        self._work = work
        self._nth = nth
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        waits, resume = 0, lambda: steps.send(None)
        while True:
            try:
                waiting = resume()
            except StopIteration as stop:
                return stop.value
            waits += 1
            if waits == self._nth:
                self.reached = True
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waiting
            except BaseException as error:  # noqa: BLE001  # it belongs to the coroutine
                resume = lambda error=error: steps.throw(error)  # noqa: E731
            else:
                resume = lambda: steps.send(None)  # noqa: E731


async def cancelled_at(work: Coroutine[Any, Any, Any], nth: int) -> tuple[bool, Any]:
    """Return whether *work* waited *nth* times, and its value or its exception."""
    canceling = CancelledAt(work, nth)

    async def run() -> Any:
        return await canceling

    (end,) = await asyncio.gather(asyncio.ensure_future(run()), return_exceptions=True)
    return canceling.reached, end
