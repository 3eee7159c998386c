"""Databases of the Django project of the tests, and a store that many threads use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.core.management import call_command
from django.db import connections

from vmfa.integrations.django.store import DjangoStore

T = TypeVar("T")


@contextmanager
def database_alias(alias: str, **database: Any) -> Iterator[str]:
    """Add a database with the tables of vmfa to the project."""
    configured = connections.configure_settings({"default": {}, alias: database})
    connections.settings[alias] = configured[alias]
    try:
        call_command("migrate", "vmfa", database=alias, verbosity=0)
        yield alias
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.settings[alias]


class ThreadsStore(DjangoStore):
    """Closes the connections of threads, as Django does at the end of a request."""

    def _call(self, work: Callable[[Any], T]) -> T:
        try:
            return super()._call(work)
        finally:
            if threading.current_thread() is not threading.main_thread():
                connections[self.alias].close()
