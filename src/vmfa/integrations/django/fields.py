"""A text field that the database compares byte by byte."""

from __future__ import annotations

from typing import Any

from django.db import models


class NameField(models.CharField):  # type: ignore[type-arg]
    """Text of at most ``max_length`` bytes in UTF-8, compared and sorted as bytes.

    PostgreSQL gets the collation "C", SQLite has a binary collation by default, and MariaDB and
    MySQL get VARBINARY: their binary collations ignore blanks at the end or exceed the length
    of an index.
    """

    def db_type(self, connection: Any) -> str | None:
        """Return the type of the column."""
        if connection.vendor == "mysql":
            return f"varbinary({self.max_length})"
        return super().db_type(connection)

    def db_parameters(self, connection: Any) -> Any:
        """Return the type and the collation of the column."""
        parameters = super().db_parameters(connection)
        if connection.vendor == "postgresql":
            return {**parameters, "collation": "C"}
        return parameters

    def from_db_value(self, value: str | bytes | None, *_: object) -> str | None:
        """Return a stored name as text."""
        return value.decode() if isinstance(value, bytes) else value

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        """Return a name as the driver needs it."""
        value = super().get_db_prep_value(value, connection, prepared)
        if connection.vendor == "mysql" and isinstance(value, str):
            return value.encode()
        return value
