"""Databases that the tests reach over SQLAlchemy, by the name of their driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from awaited import Awaited
from mariadb_server import MariaDBDatabase, fresh_database, the_server as mariadb_server
from postgres_server import fresh_schema, the_server as postgres_server
from vmfa.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore

SYNC = ("pysqlite", "psycopg", "pymysql")
ASYNC = ("aiosqlite", "psycopg_async", "asyncmy")


@contextmanager
def new_database(driver: str, folder: Path) -> Iterator[URL]:
    """Yield the URL of an empty database for a driver."""
    if driver in ("pysqlite", "aiosqlite"):
        yield URL.create(f"sqlite+{driver}", database=str(folder / "application.db"))
    elif driver in ("psycopg", "psycopg_async"):
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


def sync_url(url: URL) -> URL:
    """Return the URL of the same database for a blocking driver."""
    drivers = dict(zip(ASYNC, SYNC, strict=True))
    driver = url.get_driver_name()
    return url.set(drivername=f"{url.get_backend_name()}+{drivers.get(driver, driver)}")


@contextmanager
def open_store(driver: str, folder: Path, **arguments: Any) -> Iterator[Any]:
    """Yield a store with its tables in an empty database. An async one is awaited."""
    with new_database(driver, folder) as url, store_at(url, **arguments) as store:
        store.create_schema()
        yield store


@contextmanager
def store_at(url: URL, **arguments: Any) -> Iterator[Any]:
    """Yield a store in the database of *url*."""
    if url.get_driver_name() in ASYNC:
        with Awaited(AsyncSQLAlchemyStore(create_async_engine(url), **arguments)) as store:
            yield store
    else:
        with SQLAlchemyStore(create_engine(url), **arguments) as store:
            yield store
