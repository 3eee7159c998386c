"""What a store must do: keep one record a principal, and change it by compare-and-set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..events import AuditEvent
from ..models import Principal, PrincipalId

__all__ = ["Store"]


class Store(Protocol):
    """``vmfa.record`` turns principals into columns and back; a store sees no key and decides nothing.

    One whose records never leave the process may say ``volatile = True``: they are then not sealed.
    """

    def load(self, principal: PrincipalId) -> Principal:
        """The newest committed record; of one that was never stored, ``Principal(id=principal)``."""
        ...

    def commit(self, before: Principal, after: Principal, events: Sequence[AuditEvent]) -> bool:
        """Replace *before* by *after* and append *events*, durably, all in one transaction or not at all.

        Stored events with the number of the first of *events*, or a higher one, are deleted first: they are
        past the end of the history. If ``after.pruned`` is higher than ``before.pruned``, the store removes
        document and salt of the redactable events up to that number.

        False, and nothing written, if the stored record is no longer *before* (its revision and its tag;
        revision 0: there is none). An *after* of revision 0 removes the record and its history.
        """
        ...

    def principals(self, account: str, *, after: PrincipalId | None = None, limit: int = 1000) -> Sequence[PrincipalId]:
        """A page of the stored principals of *account*, root first, then users by the bytes of their names."""
        ...

    def history(self, principal: PrincipalId, *, after: int = 0, limit: int = 1000) -> Sequence[AuditEvent]:
        """A page of the stored events of *principal* behind event number *after*, in order."""
        ...
