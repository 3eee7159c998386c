"""What the SQL stores share: rows of principals and events, and the proof of a commit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from ..errors import RecordTampered, SchemaUntrusted
from ..events import AuditEvent
from ..models import Kind, Principal, PrincipalId
from ..record import columns
from ..validators import MAX_INTEGER

S = TypeVar("S", bound=str)
Row = Sequence[Any]

NOT_WRITTEN = (
    "the database did not keep the row that was written: a trigger or another object changed it; "
    "nothing was changed"
)


def key(principal: PrincipalId) -> tuple[str, str, str]:
    """Return the primary key of *principal*: account, kind and name."""
    return principal.account, principal.kind.value, principal.name


def read_principals(account: str, rows: Iterable[Row]) -> list[PrincipalId]:
    """Return the principals of *rows* of kind and name.

    :raises RecordTampered: a row is not the name of a principal.
    """
    try:
        return [PrincipalId(account=account, kind=Kind(kind), name=name) for kind, name in rows]
    except (ValueError, TypeError):
        pass
    raise RecordTampered("a stored record has a kind or a name that no principal can have")


def read_events(principal: PrincipalId, rows: Iterable[Row]) -> list[AuditEvent]:
    """Return the events of *rows*."""
    return [AuditEvent.from_columns(principal, *row) for row in rows]


def event_row(principal: PrincipalId, event: AuditEvent) -> tuple[Any, ...]:
    """Return the columns of *event*, in the order of the table."""
    return (*key(principal), *event.columns())


def change(
    before: Principal, after: Principal, insert: S, update: S, delete: S
) -> tuple[S, tuple[Any, ...]]:
    """Return the statement of the three that replaces *before* by *after*, and its values."""
    if before.envelope is None:
        return insert, columns(after)
    expected = (before.revision, before.envelope.tag)
    if after.revision == 0:
        return delete, (*key(before.id), *expected)
    return update, (*columns(after)[3:], *key(before.id), *expected)


def first_replaced(events: Sequence[AuditEvent], after: Principal) -> int:
    """Return the number behind which the stored events of *after* are deleted."""
    if after.revision == 0:
        return -MAX_INTEGER
    return events[0].number - 1 if events else MAX_INTEGER


def is_written(rows: Sequence[Row], after: Principal) -> bool:
    """Return whether *rows* of revision and tag, read in the transaction, are those of *after*.

    Engines with ``UPDATE ... RETURNING`` return *rows* with the change; the others select them.
    """
    if after.revision == 0:
        return not rows
    tag = after.envelope.tag if after.envelope is not None else ""
    return [tuple(row) for row in rows] == [(after.revision, tag)]


def check_written(rows: Sequence[Row], after: Principal) -> None:
    """Check that the row that was written is the row that is there.

    :raises SchemaUntrusted: it is not.
    """
    if not is_written(rows, after):
        raise SchemaUntrusted(NOT_WRITTEN)


def bounded(number: int) -> int:
    """Return *number* within the integers of SQL, which have 64 bits."""
    return max(0, min(number, MAX_INTEGER))
