"""What is played: where each game starts, who does what at once, and the databases it is played on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import psycopg_pool
from interleaving import SERVICE, WHO, Job, SealedMemory

from postgres_server import Server, fresh_schema, with_options
from support import MASTER, START, HandClock, Phone, enroll
from vmfa import CodeRejected, DerivedKeys, DeviceRegistry, Key, MemoryStore, SQLiteStore, Store
from vmfa.record import columns
from vmfa.stores.postgres import PostgresStore


@dataclass
class Game:
    start: MemoryStore
    jobs: list[Job]


def _registry(clock: HandClock) -> tuple[MemoryStore, DeviceRegistry]:
    store = SealedMemory()
    return store, DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)


def _enrolled(failures: int = 0) -> tuple[MemoryStore, Phone, float]:
    """Somebody with a device that has *failures*, his phone, and the time of its next step."""
    clock = HandClock()
    store, registry = _registry(clock)
    somebody = enroll(registry, clock, WHO)
    clock.advance(30)
    for _ in range(failures):
        with suppress(CodeRejected):
            registry.verify(WHO, somebody.phone.wrong_code())
    return store, somebody.phone, clock.now


def _enrolling() -> tuple[MemoryStore, Job, float]:
    """Somebody whose wizard is open, and the confirmation that closes it."""
    clock = HandClock()
    store, registry = _registry(clock)
    opened = registry.open_enrollment(WHO, by=SERVICE, label="alice@example.com")
    phone = Phone(Key.from_base32(opened.base32), clock)
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


def verify_verify(processes: int) -> Game:
    """One code, presented by everybody."""
    store, phone, now = _enrolled()
    return Game(store, [Job("verify", now, {"code": phone.code()})] * processes)


def guess_guess(processes: int) -> Game:
    """The last guess before the throttle: one is evaluated."""
    store, phone, now = _enrolled(failures=2)
    return Game(store, [Job("verify", now, {"code": phone.wrong_code()})] * processes)


def verify_deactivate(processes: int) -> Game:
    store, phone, now = _enrolled()
    verify = Job("verify", now, {"code": phone.code()})
    return Game(store, [verify, Job("deactivate", now, {"by": SERVICE}), verify][:processes])


def confirm_confirm(processes: int) -> Game:
    store, confirm, _ = _enrolling()
    return Game(store, [confirm] * processes)


def open_confirm(processes: int) -> Game:
    store, confirm, now = _enrolling()
    return Game(store, [Job("open_enrollment", now, OPEN), confirm, confirm][:processes])


def open_open(processes: int) -> Game:
    """The first record of a principal, made by everybody."""
    return Game(SealedMemory(), [Job("open_enrollment", START, OPEN)] * processes)


def resync_verify(processes: int) -> Game:
    """The code that signs in is one of the two that resynchronise."""
    store, phone, now = _enrolled()
    resync = Job("resync", now, {"by": SERVICE, **phone.pair(1)})
    verify = Job("verify", now, {"code": phone.code()})
    return Game(store, [resync, verify, verify][:processes])


def forget_verify(processes: int) -> Game:
    store, phone, now = _enrolled()
    verify = Job("verify", now, {"code": phone.code()})
    return Game(store, [Job("forget", now, {"by": SERVICE}), verify, verify][:processes])


def confirm_read(processes: int) -> Game:
    """Nobody sees a record without its events."""
    store, confirm, now = _enrolling()
    return Game(store, [confirm, Job("read", now), confirm][:processes])


def prune_confirm(processes: int) -> Game:
    """History is written anew while it grows."""
    store, confirm, now = _enrolling()
    prune = Job("prune_history", now, {"by": SERVICE, "older_than": int(now) + 1}, yields=True)
    return Game(store, [prune, confirm, confirm][:processes])


GAMES: dict[str, Callable[[int], Game]] = {
    game.__name__: game
    for game in (
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


SHORT = {
    "verify_verify",
    "guess_guess",
}  # three processes have 150 schedules, where the others have a million


class SQLiteGround:
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
        if record.revision:
            db.execute("INSERT INTO principal VALUES (?, ?, ?, ?, ?, ?)", columns(record))
        for e in events:
            row = (*columns(record)[:3], e.number, e.document(), e.tag)
            db.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", row)
        db.execute("COMMIT")

    def waits_for_a_lock(self, number: int) -> bool:
        return False  # it answers that it is busy, and sleeps

    def close(self) -> None:
        self._store.close()


class PostgresGround:
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
                self._db.execute(
                    "INSERT INTO vmfa_principal VALUES (%s, %s, %s, %s, %s, %s)", columns(record)
                )
            for e in events:
                row = (*columns(record)[:3], e.number, e.document(), e.tag)
                self._db.execute("INSERT INTO vmfa_event VALUES (%s, %s, %s, %s, %s, %s)", row)

    def waits_for_a_lock(self, number: int) -> bool:
        found = self._db.execute(
            "SELECT cardinality(pg_blocking_pids(%s)) > 0", (number,)
        ).fetchone()
        assert found is not None
        return bool(found[0])

    def close(self) -> None:
        self._db.close()
        self._pool.close()


@contextmanager
def ground(
    engine: str, folder: Path, server: Callable[[], Server]
) -> Iterator[SQLiteGround | PostgresGround]:
    """A database of *engine* for schedules; *server* is asked only where it is needed."""
    if engine == "sqlite":
        with closing(SQLiteGround(folder / "schedules.db")) as made:
            yield made
    else:
        with fresh_schema(server()) as conninfo, closing(PostgresGround(conninfo)) as played:
            yield played
