"""A store in the memory of one process, for tests and trials."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..errors import StoreContended
from ..events import AuditEvent
from ..history import redacted
from ..models import Principal, PrincipalId
from ._lock import is_owned, new_lock, run_locked

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keep records and histories in memory, safe between threads. Nothing survives the process."""

    volatile = True  # code that can edit these records can also read the keys

    def __init__(self) -> None:
        self._lock = new_lock()
        # A record and its history are one value: one assignment replaces both.
        self._records: dict[PrincipalId, tuple[Principal, tuple[AuditEvent, ...]]] = {}

    def load(self, principal: PrincipalId) -> Principal:
        """Return the newest committed record of *principal*."""
        row = self._records.get(principal)
        return row[0] if row is not None else Principal(id=principal)

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        """Replace *before* by *after* and append *events*.

        :returns: False, with nothing written, if the stored record is no longer *before*.
        :raises StoreContended: a signal handler interrupted a commit of the same thread.
        """
        if is_owned(self._lock):
            raise StoreContended(
                "this store is in the middle of a commit of the same thread; nothing was changed"
            )
        new = tuple(events)
        return run_locked(self._lock, partial(self._replace, before, after, new))

    def _replace(
        self, before: Principal, after: Principal, new: tuple[AuditEvent, ...]
    ) -> bool:
        current, history = self._records.get(before.id) or (Principal(id=before.id), ())
        if current is not before and current != before:
            return False
        if after.revision == 0:
            self._records.pop(after.id, None)
        else:
            if new:
                history = history[: new[0].number - 1] + new
            if after.pruned > before.pruned:
                history = tuple(
                    redacted(event)
                    if event.redactable and before.pruned < event.number <= after.pruned
                    else event
                    for event in history
                )
            self._records[after.id] = (after, history)
        return True

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        """Return a page of the stored principals of *account*."""
        start = _order(after) if after is not None else ("", b"")
        stored = [
            principal for principal in list(self._records)
            if principal.account == account and _order(principal) > start
        ]
        return sorted(stored, key=_order)[: max(0, limit)]

    def accounts(self, *, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return a page of the accounts in which a record is stored."""
        start = after.encode()
        stored = {principal.account for principal in list(self._records)}
        listed = sorted(account for account in stored if account.encode() > start)
        return listed[: max(0, limit)]

    def history(
        self, principal: PrincipalId, *, after: int = 0, limit: int = 1000
    ) -> Sequence[AuditEvent]:
        """Return a page of the stored events of *principal*."""
        _, events = self._records.get(principal, (None, ()))
        return [event for event in events if event.number > after][: max(0, limit)]


def _order(principal: PrincipalId) -> tuple[str, bytes]:
    return principal.kind.value, principal.name.encode()
