"""Where each scenario starts, which operations it runs at once, and the databases of the
schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import psycopg_pool
from interleaving import SERVICE, WHO, Job, PersistentMemory, forget_marks
from sqlalchemy import NullPool, create_engine, text

from postgres_server import Server, fresh_schema, with_options
from sqlalchemy_databases import SYNC, new_database
from support import MASTER, START, enroll
from vmfa import (
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    MemoryStore,
    Principal,
    SQLiteStore,
    Store,
)
from vmfa.stores.postgres import PostgresStore
from vmfa.stores.sqlalchemy import SQLAlchemyStore
from vmfa.testing import Account, AuthenticatorApp, FrozenClock


@dataclass
class Scenario:
    start: MemoryStore
    jobs: list[Job]


def _registry(clock: FrozenClock) -> tuple[MemoryStore, DeviceRegistry]:
    store = PersistentMemory()
    return store, DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)


def _enrolled(failures: int = 0) -> tuple[MemoryStore, Account, float]:
    """Return a store with a device that has *failures*, its phone, and the next step's time."""
    clock = FrozenClock()
    store, registry = _registry(clock)
    enrolled = enroll(registry, clock, WHO)
    clock.advance(30)
    for _ in range(failures):
        with suppress(CodeRejected):
            registry.verify(WHO, enrolled.phone.wrong_code())
    return store, enrolled.phone, clock()


def _enrolling() -> tuple[MemoryStore, Job, float]:
    """Return a store with an open enrollment, and the confirmation that closes it."""
    clock = FrozenClock()
    store, registry = _registry(clock)
    opened = registry.open_enrollment(WHO, by=SERVICE, label="alice@example.com")
    phone = AuthenticatorApp(clock).scan(opened.uri)
    return (
        store,
        Job(
            "confirm_enrollment",
            START,
            {"session": opened.session_id, "by": SERVICE, **phone.pair()},
        ),
        START,
    )


OPEN = {"by": SERVICE, "label": "alice@example.com"}


def verify_verify(processes: int) -> Scenario:
    """All present one code."""
    store, phone, now = _enrolled()
    return Scenario(store, [Job("verify", now, {"code": phone.code()})] * processes)


def guess_guess(processes: int) -> Scenario:
    """One more guess is evaluated before the throttle."""
    store, phone, now = _enrolled(failures=2)
    return Scenario(store, [Job("verify", now, {"code": phone.wrong_code()})] * processes)


def verify_deactivate(processes: int) -> Scenario:
    store, phone, now = _enrolled()
    verify = Job("verify", now, {"code": phone.code()})
    return Scenario(store, [verify, Job("deactivate", now, {"by": SERVICE}), verify][:processes])


def confirm_confirm(processes: int) -> Scenario:
    store, confirm, _ = _enrolling()
    return Scenario(store, [confirm] * processes)


def open_confirm(processes: int) -> Scenario:
    store, confirm, now = _enrolling()
    return Scenario(store, [Job("open_enrollment", now, OPEN), confirm, confirm][:processes])


def open_open(processes: int) -> Scenario:
    """All create the first record of a principal."""
    return Scenario(PersistentMemory(), [Job("open_enrollment", START, OPEN)] * processes)


def resync_verify(processes: int) -> Scenario:
    """The code that signs in is one of the two that resynchronize."""
    store, phone, now = _enrolled()
    resync = Job("resync", now, {"by": SERVICE, **phone.pair(1)})
    verify = Job("verify", now, {"code": phone.code()})
    return Scenario(store, [resync, verify, verify][:processes])


def forget_verify(processes: int) -> Scenario:
    store, phone, now = _enrolled()
    verify = Job("verify", now, {"code": phone.code()})
    return Scenario(store, [Job("forget", now, {"by": SERVICE}), verify, verify][:processes])


def confirm_read(processes: int) -> Scenario:
    """A record is never seen without its events."""
    store, confirm, now = _enrolling()
    return Scenario(store, [confirm, Job("read", now), confirm][:processes])


def prune_confirm(processes: int) -> Scenario:
    """The history is redacted while it grows."""
    store, confirm, now = _enrolling()
    prune = Job("prune_history", now, {"by": SERVICE, "older_than": int(now) + 1}, yields=True)
    return Scenario(store, [prune, confirm, confirm][:processes])


SCENARIOS: dict[str, Callable[[int], Scenario]] = {
    scenario.__name__: scenario
    for scenario in (
        verify_verify,
        guess_guess,
        verify_deactivate,
        confirm_confirm,
        open_confirm,
        open_open,
        resync_verify,
        forget_verify,
        confirm_read,
        prune_confirm,
    )
}


# Three processes have some hundred schedules here, and a million in the other scenarios.
SHORT = {("postgres", "verify_verify"), ("postgres", "guess_guess")}


class SQLiteDatabase:
    engine = "sqlite"

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self._store = SQLiteStore(path, unsafe_not_durable=True)
        self._store.load(WHO)

    def store(self) -> Store:
        return self._store

    def reset(self, start: Store) -> None:
        record, events = start.load(WHO), start.history(WHO)
        db = self._store._connection
        assert db is not None
        db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM principal")
        db.execute("DELETE FROM event")
        db.execute("COMMIT")
        forget_marks(self._store)
        if record.revision:
            assert self._store.commit(Principal(id=WHO), record, events)

    def waits_for_lock(self, number: int) -> bool:
        return False  # it reports that it is busy, and the store sleeps

    def close(self) -> None:
        self._store.close()


class PostgresDatabase:
    engine = "postgres"

    def __init__(self, conninfo: str) -> None:
        self.place = with_options(conninfo, "-c synchronous_commit=off")
        self._db = psycopg.connect(self.place, autocommit=True)
        self._pool = psycopg_pool.ConnectionPool(
            self.place, kwargs={"autocommit": True}, min_size=1, max_size=1, open=True
        )
        self._store = PostgresStore(self._pool, unsafe_not_durable=True)
        self._store.create_schema()

    def store(self) -> Store:
        return self._store

    def reset(self, start: Store) -> None:
        record, events = start.load(WHO), start.history(WHO)
        with self._db.transaction():
            self._db.execute("DELETE FROM vmfa_principal")
            self._db.execute("DELETE FROM vmfa_event")
        if record.revision:
            assert self._store.commit(Principal(id=WHO), record, events)

    def waits_for_lock(self, number: int) -> bool:
        row = self._db.execute(
            "SELECT cardinality(pg_blocking_pids(%s)) > 0", (number,)
        ).fetchone()
        assert row is not None
        return bool(row[0])

    def close(self) -> None:
        self._db.close()
        self._pool.close()


WAITS: dict[str, str] = {
    "psycopg": "SELECT cardinality(pg_blocking_pids(:number)) > 0",
    "pymysql": (
        "SELECT count(*) FROM information_schema.innodb_trx"
        " WHERE trx_state = 'LOCK WAIT' AND trx_mysql_thread_id = :number"
    ),
}


class SQLAlchemyDatabase:
    def __init__(self, driver: str, place: str) -> None:
        self.engine = driver
        self.place = place
        self._admin = create_engine(place, isolation_level="AUTOCOMMIT")
        self._store = SQLAlchemyStore(
            create_engine(place, poolclass=NullPool), unsafe_not_durable=True
        )
        self._store.create_schema()

    def store(self) -> Store:
        return self._store

    def reset(self, start: Store) -> None:
        record, events = start.load(WHO), start.history(WHO)
        with self._admin.connect() as connection:
            for table in self._store.tables.both:
                connection.execute(table.delete())
        if record.revision:
            assert self._store.commit(Principal(id=WHO), record, events)

    def waits_for_lock(self, number: int) -> bool:
        query = WAITS.get(self.engine)
        if query is None:
            return False
        with self._admin.connect() as connection:
            return bool(connection.execute(text(query), {"number": number}).scalar_one())

    def close(self) -> None:
        self._store.close()
        self._admin.dispose()


@contextmanager
def open_database(
    engine: str, folder: Path, server: Callable[[], Server]
) -> Iterator[SQLiteDatabase | PostgresDatabase | SQLAlchemyDatabase]:
    """Open a database of *engine* for schedules. *server* is called only if it is needed."""
    if engine in SYNC:
        with new_database(engine, folder) as url:
            place = url.render_as_string(hide_password=False)
            with closing(SQLAlchemyDatabase(engine, place)) as database:
                yield database
    elif engine == "sqlite":
        with closing(SQLiteDatabase(folder / "schedules.db")) as database:
            yield database
    else:
        with fresh_schema(server()) as conninfo, closing(PostgresDatabase(conninfo)) as database:
            yield database
