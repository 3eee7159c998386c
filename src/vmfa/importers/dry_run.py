"""A dry run of an import: it decides as the import would, and changes nothing."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Sequence
from typing import Final
from weakref import finalize

from ..events import AuditEvent
from ..models import Principal, PrincipalId
from ..stores.base import Store

SCHEMA: Final = (
    "CREATE TABLE written (account, kind, name, record, events,"
    " PRIMARY KEY (account, kind, name)) WITHOUT ROWID"
)
LOAD: Final = (
    "SELECT record, events FROM written WHERE account = ? AND kind = ? AND name = ?"
)
Written = tuple[Principal, tuple[AuditEvent, ...]]


class DryRunStore:
    """A store for a dry run: it reads *store*, and keeps what is written to itself.

    A registry that uses it decides as a registry that uses *store* would. What it keeps is in a
    temporary database of SQLite, without a name, which is in memory unless it becomes large.

    :param store: the store to read.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(SCHEMA)
        finalize(self, self._database.close)

    @property
    def volatile(self) -> bool:
        """Whether *store* keeps its records in memory only."""
        return getattr(self.store, "volatile", False)

    def load(self, principal: PrincipalId) -> Principal:
        """Return the record that the dry run committed, or the stored one."""
        written = self._load(principal)
        return written[0] if written is not None else self.store.load(principal)

    def commit(
        self, before: Principal, after: Principal, events: Sequence[AuditEvent]
    ) -> bool:
        """Keep the record and the events.

        :returns: False, with nothing kept, if the record is no longer *before*.
        """
        record, earlier = self._load(before.id) or (self.store.load(before.id), ())
        if record != before:
            return False
        self._database.execute(
            "INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?, ?)",
            (*_key(after.id), pickle.dumps(after), pickle.dumps((*earlier, *events))),
        )
        return True

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals."""
        return self.store.principals(account, after=after, limit=limit)

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events, followed by those of the dry run."""
        written = self._load(principal)
        added = written[1] if written is not None else ()
        stored = self.store.history(principal, after=after, limit=limit)
        if added:  # as in a commit, they replace the stored events from their number on
            stored = [event for event in stored if event.number < added[0].number]
        return [*stored, *(event for event in added if event.number > after)][:limit]

    def _load(self, principal: PrincipalId) -> Written | None:
        rows = self._database.execute(LOAD, _key(principal)).fetchall()
        if not rows:
            return None
        record, events = map(pickle.loads, rows[0])  # what this object wrote
        return record, events


def _key(principal: PrincipalId) -> tuple[str, str, str]:
    return principal.account, principal.kind.value, principal.name
