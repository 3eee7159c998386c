"""The two tables, in a ``MetaData`` of the application or in one of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Column, MetaData, SmallInteger, Table, Text
from sqlalchemy.dialects.mysql import MEDIUMBLOB, VARBINARY
from sqlalchemy.types import TypeEngine

from ...errors import InvalidType, InvalidValue
from ...validators import MAX_NAME_BYTES

MYSQL: Final = ("mysql", "mariadb")  # the names of SQLAlchemy's dialects
PREFIX: Final = "vmfa_"
MAX_KIND_BYTES: Final = 8
MAX_DIGEST_BYTES: Final = 128


def _text(max_bytes: int | None = None, *, compared: bool = False) -> TypeEngine[str]:
    """Return the type of text that the database stores and compares as bytes.

    MariaDB gets a binary type: its text types convert between character sets, and their
    collations ignore case, accents or blanks at the end. PostgreSQL gets the collation "C" where
    statements compare the column. SQLite compares bytes by default.

    :param max_bytes: the longest value, in bytes; None for up to 16 MiB.
    :param compared: whether statements compare the column.
    """
    binary = MEDIUMBLOB() if max_bytes is None else VARBINARY(max_bytes)
    type_ = Text().with_variant(binary, *MYSQL)
    return type_.with_variant(Text(collation="C"), "postgresql") if compared else type_


@dataclass(frozen=True, slots=True)
class Tables:
    """The two tables of a store. :func:`vmfa_tables` returns them."""

    principal: Table
    event: Table

    @property
    def both(self) -> tuple[Table, Table]:
        """Both tables."""
        return self.principal, self.event


def vmfa_tables(
    metadata: MetaData, *, prefix: str = PREFIX, schema: str | None = None
) -> Tables:
    """Add the two tables to *metadata*, so that Alembic sees them among those of the application.

    With the default names they are, on PostgreSQL, the tables of ``PostgresStore``.

    :param metadata: the ``MetaData`` of the application, such as ``Base.metadata``.
    :param prefix: what the names of the tables begin with.
    :param schema: the schema of the tables; None for the default schema of *metadata*.
    :returns: the tables, to pass to a store.
    :raises InvalidType: *metadata* is not a ``MetaData``.
    :raises InvalidValue: *prefix* contains other characters than letters, digits and ``_``.
    """
    if not isinstance(metadata, MetaData):
        raise InvalidType("metadata must be a sqlalchemy.MetaData, such as Base.metadata")
    if not (f"{prefix}x".isidentifier() and prefix.isascii()):
        raise InvalidValue("prefix must consist of ASCII letters, digits and underscores")
    options: dict[str, Any] = {
        "schema": schema, "mysql_engine": "InnoDB", "mariadb_engine": "InnoDB",
    }
    principal = Table(
        f"{prefix}principal", metadata, *_key(),
        Column("revision", BigInteger, nullable=False),
        Column("state", _text(), nullable=False),
        Column("tag", _text(MAX_DIGEST_BYTES), nullable=False),
        Column("audit_tag", _text(MAX_DIGEST_BYTES), nullable=False),
        **options,
    )
    event = Table(
        f"{prefix}event", metadata, *_key(),
        Column("number", BigInteger, primary_key=True, nullable=False, autoincrement=False),
        Column("document", _text()),  # null: the event was redacted
        Column("salt", _text(MAX_DIGEST_BYTES)),
        Column("content_digest", _text(MAX_DIGEST_BYTES), nullable=False),
        Column("digest", _text(MAX_DIGEST_BYTES), nullable=False),
        Column("redactable", SmallInteger, nullable=False),
        Column("audit_tag", _text(MAX_DIGEST_BYTES), nullable=False),
        **options,
    )
    return Tables(principal, event)


def _key() -> list[Column[str]]:
    return [
        Column(name, _text(max_bytes, compared=True), primary_key=True, nullable=False)
        for name, max_bytes in (
            ("account", MAX_NAME_BYTES), ("kind", MAX_KIND_BYTES), ("name", MAX_NAME_BYTES)
        )
    ]
