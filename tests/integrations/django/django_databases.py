"""Databases of the Django project of the tests, and a store that many threads use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.core.management import call_command
from django.db import connections, transaction

from vmfa import Principal
from vmfa.integrations.django.store import RECORDS, DjangoStore
from vmfa.testing import StoreContract
from vmfa.testing._contract_tools import commit_next, new_user

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


@contextmanager
def rolled_back(alias: str) -> Iterator[None]:
    """Open a transaction that is rolled back."""
    with transaction.atomic(using=alias):
        yield
        transaction.set_rollback(True, using=alias)


class ThreadsStore(DjangoStore):
    """Closes the connections of threads, as Django does at the end of a request."""

    def _call(self, work: Callable[[Any], T]) -> T:
        try:
            return super()._call(work)
        finally:
            if threading.current_thread() is not threading.main_thread():
                connections[self.alias].close()


class DjangoContract(StoreContract):
    """The contract, with a caller that rolls back a transaction of the project."""

    def caller_transaction(self, store: Any) -> Any:
        return rolled_back(store.alias)

    def test_a_history_without_its_record_is_listed(self, store: Any) -> None:
        """An audit reports it: only a change of the database removes a record alone."""
        stored = commit_next(store, Principal(id=new_user()), 1, 2)
        assert store.orphans(stored.id.account) == []
        with connections[store.alias].cursor() as cursor:
            cursor.execute(f"DELETE FROM {RECORDS}")
        assert store.orphans(stored.id.account) == [stored.id]
        assert store.orphans(stored.id.account, after=stored.id) == []
        assert store.orphans("another") == []
