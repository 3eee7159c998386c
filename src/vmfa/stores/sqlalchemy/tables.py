"""The two tables, in a ``MetaData`` of the application or in one of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Column, MetaData, SmallInteger, Table
from sqlalchemy.dialects.mysql import MEDIUMBLOB, VARBINARY
from sqlalchemy.engine import Dialect
from sqlalchemy.types import Text, TypeDecorator, TypeEngine

from ...errors import InvalidType, InvalidValue
from ...validators import MAX_NAME_BYTES

MYSQL: Final = ("mysql", "mariadb")  # the names of SQLAlchemy's dialects
PREFIX: Final = "vmfa_"
MAX_KIND_BYTES: Final = 8
MAX_DIGEST_BYTES: Final = 128


class ByteText(TypeDecorator[str]):
    """Text that the database stores, compares and sorts as the bytes of its UTF-8 encoding.

    MariaDB and MySQL get a binary type: their text types convert between character sets, and
    their collations ignore case, accents or blanks at the end. PostgreSQL gets the collation
    "C" where *compared* is true. SQLite compares bytes unless a column says otherwise.

    :param max_bytes: the longest value, in bytes; None for up to 16 MiB.
    :param compared: whether statements compare the column.
    """

    impl = Text
    cache_ok = True

    def __init__(self, max_bytes: int | None = None, *, compared: bool = False) -> None:
        super().__init__()
        self.max_bytes = max_bytes
        self.compared = compared

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the type of the column."""
        if dialect.name in MYSQL:
            binary = MEDIUMBLOB() if self.max_bytes is None else VARBINARY(self.max_bytes)
            return dialect.type_descriptor(binary)
        collation = "C" if self.compared and dialect.name == "postgresql" else None
        return dialect.type_descriptor(Text(collation=collation))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Return a value as the driver needs it."""
        return value.encode() if value is not None and dialect.name in MYSQL else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Return a stored value as text."""
        text: str | None = value.decode() if isinstance(value, bytes) else value
        return text


@dataclass(frozen=True, slots=True)
class Tables:
    """The two tables of a store. :func:`vmfa_tables` returns them."""

    principal: Table
    event: Table


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
        Column("state", ByteText(), nullable=False),
        Column("tag", ByteText(MAX_DIGEST_BYTES), nullable=False),
        Column("audit_tag", ByteText(MAX_DIGEST_BYTES), nullable=False),
        **options,
    )
    event = Table(
        f"{prefix}event", metadata, *_key(),
        Column("number", BigInteger, primary_key=True, nullable=False, autoincrement=False),
        Column("document", ByteText()),  # null: the event was redacted
        Column("salt", ByteText(MAX_DIGEST_BYTES)),
        Column("content_digest", ByteText(MAX_DIGEST_BYTES), nullable=False),
        Column("digest", ByteText(MAX_DIGEST_BYTES), nullable=False),
        Column("redactable", SmallInteger, nullable=False),
        Column("audit_tag", ByteText(MAX_DIGEST_BYTES), nullable=False),
        **options,
    )
    return Tables(principal, event)


def _key() -> list[Column[str]]:
    return [
        Column(name, ByteText(max_bytes, compared=True), primary_key=True, nullable=False)
        for name, max_bytes in (
            ("account", MAX_NAME_BYTES), ("kind", MAX_KIND_BYTES), ("name", MAX_NAME_BYTES)
        )
    ]
