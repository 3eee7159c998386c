"""Call asynchronous objects without await: coroutines run on an event loop in a thread."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from threading import Thread
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Awaited:
    """A proxy of *inner* whose coroutine functions block until they are done."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.loop = asyncio.new_event_loop()
        self._thread = Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(value):
            return value
        return lambda *args, **kwargs: self.run(value(*args, **kwargs))

    def run(self, awaitable: Awaitable[T]) -> T:
        return asyncio.run_coroutine_threadsafe(_as_coroutine(awaitable), self.loop).result()

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


async def _as_coroutine(awaitable: Awaitable[T]) -> T:
    return await awaitable
