"""A store in the memory of one process: for tests and trials. Nothing survives the process."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from ..events import AuditEvent
from ..history import redacted
from ..models import Principal, PrincipalId

__all__ = ["MemoryStore"]


class MemoryStore:
    """Records and histories in dictionaries, safe between threads."""

    volatile = True  # who could edit these records could as well take the keys: they are not sealed

    def __init__(self) -> None:
        self._lock = Lock()
        self._records: dict[PrincipalId, Principal] = {}
        self._events: dict[PrincipalId, list[AuditEvent]] = {}

    def load(self, principal: PrincipalId) -> Principal:
        return self._records.get(principal) or Principal(id=principal)

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        kept = tuple(events)
        with self._lock:
            current = self._records.get(before.id)
            if current is not before and (current or Principal(id=before.id)) != before:
                return False
            if after.revision:
                self._records[after.id] = after
                if kept:
                    history = self._events.setdefault(after.id, [])
                    history[kept[0].number - 1 :] = kept
                    for i in range(before.pruned, after.pruned):
                        if history[i].redactable:
                            history[i] = redacted(history[i])
            else:
                self._records.pop(after.id, None)
                self._events.pop(after.id, None)
            return True

    def principals(
        self, account: str, *, after: PrincipalId | None = None, limit: int = 1000
    ) -> Sequence[PrincipalId]:
        with self._lock:
            found = [who for who in self._records if who.account == account]
        start = _order(after) if after is not None else ("", b"")
        return sorted((who for who in found if _order(who) > start), key=_order)[: max(0, limit)]

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        with self._lock:
            events = list(self._events.get(principal, ()))
        return [event for event in events if event.number > after][: max(0, limit)]


def _order(who: PrincipalId) -> tuple[str, bytes]:
    return who.kind.value, who.name.encode()
