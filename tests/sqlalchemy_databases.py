"""Databases that the tests reach over SQLAlchemy, by the name of their driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL

from mariadb_server import MariaDBDatabase, fresh_database, the_server as mariadb_server
from postgres_server import fresh_schema, the_server as postgres_server

SYNC = ("pysqlite", "psycopg", "pymysql", "mysqldb")
ASYNC = ("aiosqlite", "psycopg_async", "asyncpg", "asyncmy", "aiomysql")


@contextmanager
def new_database(driver: str, folder: Path) -> Iterator[URL]:
    """Yield the URL of an empty database for a driver."""
    if driver in ("pysqlite", "aiosqlite"):
        yield URL.create(f"sqlite+{driver}", database=str(folder / "application.db"))
    elif driver in ("psycopg", "psycopg_async", "asyncpg"):
        with fresh_schema(postgres_server()) as conninfo:
            yield postgres_url(driver, conninfo)
    else:
        with fresh_database(mariadb_server()) as database:
            yield mariadb_url(driver, database)


def postgres_url(driver: str, conninfo: str) -> URL:
    """Return the URL of a database whose connection string of libpq is *conninfo*."""
    given = conninfo_to_dict(conninfo)
    return URL.create(
        f"postgresql+{driver}", username=given.get("user"), password=given.get("password"),
        database=given.get("dbname"),
        query={name: str(given[name]) for name in ("host", "port", "options") if name in given},
    )


def mariadb_url(driver: str, database: MariaDBDatabase) -> URL:
    """Return the URL of a database of MariaDB."""
    server = database.server
    return URL.create(
        f"mariadb+{driver}", username=server.user, host=server.host, port=server.port,
        database=database.name, query={"charset": "utf8mb4"},
    )
