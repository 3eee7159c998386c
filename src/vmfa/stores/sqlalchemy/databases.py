"""What differs between databases: the settings of a session, what is unsafe, and the errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any, ClassVar

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from ...errors import SchemaUntrusted, StoreError, StoreUnavailable
from .tables import Tables

Execute = Callable[[str], list[Any]]  # a statement, on a connection of the driver


class Failure(Enum):
    """What an error of a driver means."""

    UNDONE = auto()  # because of other callers; try again
    WAITED = auto()  # too long
    LOST = auto()  # the connection; what was sent may have been done
    NO_TABLES = auto()
    CHANGED_TABLES = auto()
    CORRUPT = auto()
    NOT_TEXT = auto()  # a stored value
    REFUSED = auto()
    UNCERTAIN = auto()  # as LOST, and the connection is still there


class Database(ABC):
    """One kind of database.

    :cvar begin: the statement that begins a transaction.
    :cvar clock: the statement that reads the clock of the server; empty if it is ours.
    :cvar closed_before_fork: whether a process that forks must not have idle connections.
    :cvar certain: failures of the statement that commits which mean that nothing was stored.
    """

    begin: ClassVar[str] = "BEGIN"
    clock: ClassVar[str] = ""
    closed_before_fork: ClassVar[bool] = False
    certain: ClassVar[frozenset[Failure]] = frozenset(Failure) - {Failure.UNCERTAIN, Failure.LOST}

    @abstractmethod
    def session_settings(
        self, execute: Execute, timeout: float | None, *, durable: bool
    ) -> None:
        """Prepare a new connection of the store, which commits each statement by itself.

        :param timeout: seconds for a statement; None sets no limit.
        :param durable: whether every commit must reach the disk.
        """
        ...

    @abstractmethod
    def in_transaction(self, connection: Any) -> bool:
        """Return whether a transaction is open on a connection of the driver, if it says so."""
        ...

    def faults(
        self, connection: Connection, tables: Tables, *, durable: bool
    ) -> Iterator[StoreError]:
        """Yield what is wrong with the tables and with the settings of *connection*."""
        for table in tables.both:
            yield from self.table_faults(connection, table)
        yield from self.setting_faults(connection, durable=durable)

    @abstractmethod
    def table_faults(self, connection: Connection, table: Table) -> Iterator[StoreError]:
        """Yield what is wrong with *table*."""
        ...

    @abstractmethod
    def setting_faults(self, connection: Connection, *, durable: bool) -> Iterator[StoreError]:
        """Yield what is wrong with the settings of *connection*."""
        ...

    @abstractmethod
    def meaning(self, error: DBAPIError) -> tuple[Failure, str]:
        """Return what *error* means, and its name, which quotes nothing that is stored."""
        ...


def not_durable(setting: str, wanted: str) -> StoreUnavailable:
    """Return the fault of a setting that may lose commits."""
    return StoreUnavailable(
        f"{setting}: a crash may take back stored changes, and so make used codes valid again;"
        f" set it to {wanted}"
    )


def no_table(table: Table) -> StoreUnavailable:
    """Return the fault of a missing table."""
    return StoreUnavailable(
        f"the table {table.name} is missing: call create_schema(), or run your migrations"
    )


def foreign(table: Table, what: str) -> SchemaUntrusted:
    """Return the fault of an object that may change what a statement does."""
    return SchemaUntrusted(
        f"the table {table.name} has {what}, which vmfa did not create; remove it"
    )


def other_columns(table: Table, stored: str) -> SchemaUntrusted:
    """Return the fault of a table with other columns."""
    return SchemaUntrusted(
        f"the columns of {table.name} are not those that vmfa created: {stored}"
    )
