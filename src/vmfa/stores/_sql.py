"""What the SQL stores share: how a principal is found in a table, and the one statement that compares and sets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from ..errors import RecordTampered
from ..models import Kind, Principal, PrincipalId
from ..record import columns
from ..validators import MAX_INTEGER

S = TypeVar("S", bound=str)


def key(principal: PrincipalId) -> tuple[str, str, str]:
    return principal.account, principal.kind.value, principal.name


def named(account: str, rows: Iterable[tuple[str, str]]) -> list[PrincipalId]:
    """The principals that *rows* of kind and name name. :raises RecordTampered: a row that names nobody."""
    try:
        return [PrincipalId(account=account, kind=Kind(kind), name=name) for kind, name in rows]
    except (ValueError, TypeError):
        pass
    raise RecordTampered("a stored record names no principal")


def change(before: Principal, after: Principal, insert: S, update: S, delete: S) -> tuple[S, tuple[Any, ...]]:
    """The statement, of the three, that replaces *before* by *after*, and its values."""
    if before.envelope is None:
        return insert, columns(after)
    still = (before.revision, before.envelope.tag)
    if after.revision == 0:
        return delete, (*key(before.id), *still)
    return update, (*columns(after)[3:], *key(before.id), *still)


def bounded(number: int) -> int:
    return max(0, min(number, MAX_INTEGER))  # the integers of SQL have 64 bits
