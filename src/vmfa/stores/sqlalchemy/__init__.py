"""The stores over SQLAlchemy 2: PostgreSQL, MariaDB and SQLite, in tables of the application."""

from __future__ import annotations

from ...errors import MissingExtra

try:
    import sqlalchemy as _sqlalchemy  # noqa: F401  # says what to install where it is missing
except ImportError:
    raise MissingExtra(
        "this store needs SQLAlchemy 2: pip install 'vmfa[sqlalchemy]'"
    ) from None

# isort: split
from .aio import AsyncSQLAlchemyStore
from .store import SQLAlchemyStore
from .tables import Tables, vmfa_tables
from .transactions import AsyncOwnTransaction, OwnTransaction, RecordsInTransaction

__all__ = [
    "AsyncOwnTransaction",
    "AsyncSQLAlchemyStore",
    "OwnTransaction",
    "RecordsInTransaction",
    "SQLAlchemyStore",
    "Tables",
    "vmfa_tables",
]
