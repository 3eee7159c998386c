"""Asynchronous things, for tests that do not wait: every coroutine runs to its end on a loop in a thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from threading import Thread
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Awaited:
    """*inner* without await: its coroutine functions run on this object's own event loop."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.loop = asyncio.new_event_loop()
        self._thread = Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(found):
            return found
        return lambda *args, **kwargs: self.run(found(*args, **kwargs))

    def run(self, waiting: Awaitable[T]) -> T:
        return asyncio.run_coroutine_threadsafe(_whole(waiting), self.loop).result()

    def __enter__(self) -> Self:
        if hasattr(self.inner, "__aenter__"):
            self.run(self.inner.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self.inner, "__aexit__"):
            self.run(self.inner.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()


async def _whole(waiting: Awaitable[T]) -> T:
    return await waiting
