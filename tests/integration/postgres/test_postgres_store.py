"""The PostgreSQL stores: what they send, what they refuse, and how they fail."""

from __future__ import annotations

import asyncio
import importlib.util
import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

import vmfa
from awaited import Awaited
from lossy_proxy import LossyProxy
from postgres_server import Server, with_options
from support import MASTER, HandClock, check_history, enroll
from vmfa import (
    Actor,
    AlreadyUsed,
    AuditEvent,
    ClockWentBack,
    DerivedKeys,
    DeviceRegistry,
    EventType,
    InvalidType,
    InvalidValue,
    MissingExtra,
    OutcomeUnknown,
    Principal,
    PrincipalId,
    Receipt,
    RecordTampered,
    SchemaUntrusted,
    StoreContended,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
)
from vmfa.stores import postgres
from vmfa.stores._postgres_sql import Step
from vmfa.stores.postgres import PostgresStore, schema_sql
from vmfa.stores.postgres_async import AsyncPostgresStore

pytestmark = pytest.mark.slow

WHO = PrincipalId.user("123456789012", "u-4711")
PROBE = "SELECT max(version), current_setting('synchronous_commit',"
SERVICE = Actor.trusted_service("importer")


def sql(conninfo: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run *statements*, each for itself; the rows of the last."""
    with psycopg.connect(conninfo, autocommit=True) as db:
        for statement in statements:
            cursor = db.execute(statement)
        return cursor.fetchall() if cursor.description else []


def registry_over(store: Any, clock: HandClock) -> DeviceRegistry:
    return DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=clock)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first words of every statement that the stores send."""
    statements: list[str] = []
    exchange = postgres.Call.exchange

    def listening(self: Any, step: Step) -> Any:
        statements.append(" ".join(step.sql.split()[:3]))
        return exchange(self, step)

    monkeypatch.setattr(postgres.Call, "exchange", listening)
    return statements


def after_the_check(sent: list[str]) -> list[str]:
    """Return what was sent without the check of a connection."""
    if PROBE not in sent:
        return sent
    begin = sent.index(PROBE) - 1
    return sent[:begin] + sent[begin + 4 :]


# What is said


def test_a_verification_is_one_select_and_one_update(
    registry: DeviceRegistry, clock: HandClock, alice: PrincipalId, sent: list[str]
) -> None:
    somebody = enroll(registry, clock, alice)
    sent.clear()
    somebody.sign_in()
    assert after_the_check(sent) == ["SELECT revision, state,", "UPDATE vmfa_principal SET"]


def test_a_throttled_attempt_is_one_select(
    registry: DeviceRegistry, clock: HandClock, alice: PrincipalId, sent: list[str]
) -> None:
    somebody = enroll(registry, clock, alice)
    for _ in range(3):
        with suppress(vmfa.CodeRejected):
            registry.verify(alice, somebody.phone.wrong_code())
    sent.clear()
    with pytest.raises(vmfa.Throttled):
        registry.verify(alice, somebody.phone.code())
    assert after_the_check(sent) == ["SELECT revision, state,"]


def test_life_cycle_events_are_written_in_the_transaction_of_their_change(
    registry: DeviceRegistry, clock: HandClock, alice: PrincipalId, sent: list[str]
) -> None:
    sent.clear()
    registry.open_enrollment(alice, by=Actor.signed_in(alice), label="alice")
    assert after_the_check(sent) == [
        "SELECT revision, state,",
        "BEGIN",
        "INSERT INTO vmfa_principal",
        "DELETE FROM vmfa_event",
        "INSERT INTO vmfa_event",
        "SELECT NOT EXISTS",
        "COMMIT",
    ]


def test_a_lost_commit_leaves_no_transaction(
    registry: DeviceRegistry, store: Any, clock: HandClock, alice: PrincipalId, sent: list[str]
) -> None:
    enroll(registry, clock, alice)
    held = store.load(alice)
    sent.clear()
    assert not store.commit(
        Principal(id=alice, revision=held.revision + 1, envelope=held.envelope),
        Principal(id=alice),
        [],
    )
    assert sent[-4:-1] == ["BEGIN", "DELETE FROM vmfa_principal", "ROLLBACK"]


def test_each_connection_is_checked_once(store: Any, database: str, sent: list[str]) -> None:
    with pool_of(store, database, kwargs={"autocommit": True}, min_size=1, max_size=1) as pool:
        ours = over_pool(store, pool)
        for _ in range(3):
            ours.load(WHO)
    assert sent.count(PROBE) == 1


def test_the_view_shows_what_operators_filter_by(
    registry: DeviceRegistry, clock: HandClock, alice: PrincipalId, database: str
) -> None:
    device = enroll(registry, clock, alice).device
    registry.open_enrollment(PrincipalId.user(alice.account, "no-device"), by=SERVICE, label="x")
    rows = sql(
        database,
        "SELECT name, serial, sync, disabled, failures, budget, enrolled_at FROM vmfa_device",
    )
    assert rows == [(alice.name, device.serial, "in sync", False, 0, 100, device.enrolled_at)]


# The schema


def test_the_printed_schema_is_the_created_one(open_store: Any, database: str) -> None:
    sql(database, schema_sql())
    open_store(database).create_schema()
    assert open_store(database).load(WHO) == Principal(id=WHO)
    assert sql(database, "SELECT version FROM vmfa_schema") == [(1,)]
    assert "COMMIT;" in schema_sql()


def _create(conninfo: str, barrier: Any) -> None:
    with PostgresStore(conninfo) as store:
        barrier.wait()
        for _ in range(3):
            store.create_schema()
        store.load(WHO)


def test_many_processes_create_the_schema_at_once(database: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(6)
    creators = [spawn.Process(target=_create, args=(database, barrier)) for _ in range(6)]
    for creator in creators:
        creator.start()
    for creator in creators:
        creator.join()
    assert [creator.exitcode for creator in creators] == [0] * 6


def test_many_tasks_create_the_schema_at_once(open_store: Any, database: str) -> None:
    stores = [open_store(database) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda store: store.create_schema(), stores))
    assert stores[0].load(WHO) == Principal(id=WHO)


def test_missing_tables_are_unavailable(open_store: Any, database: str) -> None:
    with pytest.raises(StoreUnavailable, match="create_schema"):
        open_store(database).load(WHO)
    (problem,) = open_store(database).health()
    assert isinstance(problem, StoreUnavailable)


def test_a_newer_schema_is_refused_and_left_alone(
    store: Any, open_store: Any, database: str
) -> None:
    sql(database, "INSERT INTO vmfa_schema VALUES (7)")
    with pytest.raises(StoreTooNew, match="schema 7"):
        open_store(database).load(WHO)
    with pytest.raises(StoreTooNew, match="schema 7"):
        store.create_schema()
    assert [type(problem) for problem in store.health()] == [StoreTooNew]
    assert sql(database, "SELECT count(*) FROM vmfa_schema") == [(2,)]
    sql(database, "DELETE FROM vmfa_schema WHERE version = 1")
    with pytest.raises(StoreTooNew, match="schema 7"):
        store.create_schema()
    assert sql(database, "SELECT version FROM vmfa_schema") == [(7,)]


def test_an_older_schema_asks_for_its_migration(
    store: Any, open_store: Any, database: str
) -> None:
    sql(database, "DELETE FROM vmfa_schema")
    with pytest.raises(StoreUnavailable, match=r"schema 0.*create_schema"):
        open_store(database).load(WHO)
    store.create_schema()
    assert open_store(database).load(WHO) == Principal(id=WHO)


def test_names_are_ordered_by_their_bytes_in_every_locale(
    store: Any, database: str
) -> None:
    rows = sql(
        database,
        """SELECT DISTINCT collation_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name IN ('vmfa_principal', 'vmfa_event')
        AND column_name IN ('account', 'kind', 'name')""",
    )
    assert rows == [("C",)]


def test_a_row_with_an_impossible_name_is_reported_when_principals_are_listed(
    store: Any, registry: DeviceRegistry, database: str
) -> None:
    registry.open_enrollment(WHO, by=SERVICE, label="x")
    sql(
        database,
        f"INSERT INTO vmfa_principal SELECT account, 'admin', 'x', 1, state, tag, audit_tag"
        f" FROM vmfa_principal WHERE name = '{WHO.name}'",
    )
    with pytest.raises(RecordTampered, match="that no principal can have"):
        store.principals(WHO.account)


def test_copies_under_another_account_kind_or_name_change_nothing(
    registry: DeviceRegistry, clock: HandClock, alice: PrincipalId, database: str
) -> None:
    """And nothing is done to them."""
    somebody = enroll(registry, clock, alice)
    own = f"account = '{alice.account}' AND kind = 'user' AND name = '{alice.name}'"
    tables = {
        "vmfa_principal": "revision, state, tag, audit_tag",
        "vmfa_event": "number, document, salt, content_digest, digest, redactable, audit_tag",
    }

    def others() -> list[Any]:
        return [
            sql(database, f"SELECT * FROM {table} WHERE NOT ({own}) ORDER BY 1, 2, 3, 4")
            for table in tables
        ]

    def copied() -> list[Any]:
        for table, columns in tables.items():
            sql(database, f"DELETE FROM {table} WHERE NOT ({own})")
            for there in (
                "'000', kind, name",
                "'zzz', kind, name",
                "account, 'aaa', name",
                "account, 'zzz', name",
                "account, kind, 'a'",
                "account, kind, 'z'",
            ):
                sql(
                    database,
                    f"INSERT INTO {table} SELECT {there}, {columns} FROM {table} WHERE {own}",
                )
        return others()

    planted = copied()
    somebody.sign_in()
    registry.deactivate(alice, by=SERVICE)
    assert [event.type for event in registry.history(alice, by=SERVICE)] == [
        EventType.OPENED,
        EventType.ASSIGNED,
        EventType.DEACTIVATED,
    ]
    assert others() == planted
    planted = copied()  # of the record as it is now
    registry.forget(alice, by=SERVICE)
    assert others() == planted
    assert sql(database, f"SELECT 1 FROM vmfa_event WHERE {own}") == []


def test_history_is_in_order_whatever_the_plan(
    registry: DeviceRegistry, open_store: Any, database: str, clock: HandClock, alice: PrincipalId
) -> None:
    enroll(registry, clock, alice)
    sql(
        database,
        "CREATE TABLE old AS SELECT * FROM vmfa_event",
        "DELETE FROM vmfa_event",
        "INSERT INTO vmfa_event SELECT * FROM old ORDER BY number DESC",
    )
    heap_order = "-c enable_indexscan=off -c enable_bitmapscan=off -c enable_indexonlyscan=off"
    history = open_store(with_options(database, heap_order)).history(alice)
    assert [event.number for event in history] == [1, 2]


def test_principals_are_in_order_whatever_the_plan(
    registry: DeviceRegistry, open_store: Any, database: str
) -> None:
    people = [
        PrincipalId.root(WHO.account),
        *(PrincipalId.user(WHO.account, name) for name in "abc"),
    ]
    for who in people[3:0:-1]:
        registry.open_enrollment(who, by=SERVICE, label="x")
    registry.open_enrollment(people[0], by=Actor.signed_in(people[0]), label="x")
    heap_order = "-c enable_indexscan=off -c enable_bitmapscan=off -c enable_indexonlyscan=off"
    assert list(open_store(with_options(database, heap_order)).principals(WHO.account)) == people


def test_the_revision_is_compared_beside_the_tag(
    registry: DeviceRegistry, store: Any, database: str, clock: HandClock, alice: PrincipalId
) -> None:
    registry.open_enrollment(alice, by=SERVICE, label="alice")
    before = store.load(alice)
    made = registry.operations.cancel_enrollment(alice, by=SERVICE).decide(before, clock())
    sql(database, "UPDATE vmfa_principal SET revision = 99")
    assert not store.commit(before, made.principal, made.stored)


# What is refused


def test_commits_that_a_crash_takes_back_are_refused(
    store: Any, open_store: Any, database: str
) -> None:
    careless = with_options(database, "-c synchronous_commit=off")
    with pytest.raises(StoreUnavailable, match="synchronous_commit"):
        open_store(careless).load(WHO)
    assert ["synchronous_commit" in str(problem) for problem in open_store(careless).health()] == [
        True
    ]
    told_so = open_store(careless, unsafe_not_durable=True)
    assert told_so.load(WHO) == Principal(id=WHO)
    assert not told_so.health()


def test_a_read_replica_is_refused(store: Any, open_store: Any, database: str) -> None:
    with pytest.raises(StoreUnavailable, match="read-only"):
        open_store(with_options(database, "-c default_transaction_read_only=on")).load(WHO)


@pytest.mark.parametrize("source", [None, 5, object(), b"host=x"])
def test_a_source_of_the_wrong_type_is_refused(open_store: Any, source: object) -> None:
    with pytest.raises(
        InvalidType, match="source must be a connection string or a connection pool"
    ):
        open_store(source)


def test_a_bad_connection_string_is_not_repeated(open_store: Any) -> None:
    with pytest.raises(InvalidValue) as caught:
        open_store("host=x hunter2 secret").load(WHO)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value)).replace(
        '"host=x hunter2 secret"', ""
    )
    assert caught.value.__context__ is None


def test_the_text_of_a_store_shows_no_password(open_store: Any) -> None:
    store = open_store("host=/nowhere password=hunter2")
    assert "hunter2" not in repr(getattr(store, "inner", store))


@contextmanager
def pool_of(store: Any, conninfo: str, **kwargs: Any) -> Iterator[Any]:
    """A pool that fits *store*'s kind."""
    if isinstance(store, Awaited):

        async def opened() -> Any:
            pool = psycopg_pool.AsyncConnectionPool(conninfo, open=False, **kwargs)
            await pool.open()
            return pool

        pool = store.run(opened())
        yield pool
        store.run(pool.close())
    else:
        with psycopg_pool.ConnectionPool(conninfo, open=True, **kwargs) as pool:
            yield pool


def over_pool(store: Any, pool: Any, **kwargs: Any) -> Any:
    """A store over *pool*, on the loop of *store* if it has one."""
    if not isinstance(store, Awaited):
        return PostgresStore(pool, **kwargs)
    made = Awaited.__new__(Awaited)
    made.inner, made.loop = type(store.inner)(pool, **kwargs), store.loop
    return made


def test_a_given_pool_is_used_and_left_open(
    store: Any, database: str, clock: HandClock, alice: PrincipalId
) -> None:
    with pool_of(
        store, database, kwargs={"autocommit": True, "row_factory": dict_row}, min_size=1
    ) as pool:
        ours = over_pool(store, pool)
        enroll(registry_over(ours, clock), clock, alice).sign_in()
        assert pool.get_stats()["requests_num"] >= 4
        ours.close()
        assert ours.load(alice).device is not None


def test_a_connection_that_does_not_commit_by_itself_is_refused(store: Any, database: str) -> None:
    with pool_of(store, database, min_size=1) as pool:
        ours = over_pool(store, pool)
        with pytest.raises(InvalidValue, match="autocommit"):
            ours.load(WHO)
        assert pool.get_stats()["pool_available"] == 1


def test_a_connection_in_a_transaction_is_refused(store: Any, database: str) -> None:
    class Sharing:
        """What a service might pass instead of a pool: the connection of its request."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def getconn(self, timeout: float) -> Any:
            return self._connection

        def putconn(self, connection: Any) -> None:
            assert connection is self._connection

    with psycopg.connect(database, autocommit=True) as db:
        db.execute("BEGIN")
        with pytest.raises(InvalidValue, match="Operations"):
            PostgresStore(Sharing(db)).load(WHO)  # type: ignore[arg-type]  # on purpose
        assert db.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


# Failure


def unprepared(store: Any) -> Any:
    """Return *store*, sending every statement as text, which a proxy can recognize."""
    getattr(store, "inner", store).prepare = False
    return store


@pytest.fixture
def wire(database: str) -> Iterator[LossyProxy]:
    with LossyProxy(database) as proxy:
        yield proxy


def test_a_code_whose_answer_was_lost_is_not_accepted_again(
    store: Any, open_store: Any, wire: LossyProxy, clock: HandClock, alice: PrincipalId
) -> None:
    somebody = enroll(registry_over(store, clock), clock, alice)
    through = registry_over(unprepared(open_store(wire.conninfo)), clock)
    clock.advance(30)
    wire.cut_after("UPDATE vmfa_principal")
    with pytest.raises(OutcomeUnknown, match="may have been stored"):
        through.verify(alice, somebody.phone.code())
    assert wire.happened.is_set()
    with pytest.raises(AlreadyUsed):
        through.verify(alice, somebody.phone.code())
    assert isinstance(somebody.sign_in(), Receipt)


def test_a_request_lost_before_the_commit_is_not_sent_again(
    store: Any, open_store: Any, wire: LossyProxy, clock: HandClock, alice: PrincipalId
) -> None:
    """From here the two cases look the same."""
    somebody = enroll(registry_over(store, clock), clock, alice)
    through = registry_over(unprepared(open_store(wire.conninfo)), clock)
    clock.advance(30)
    wire.cut_before("UPDATE vmfa_principal")
    with pytest.raises(OutcomeUnknown, match="may have been stored"):
        through.verify(alice, somebody.phone.code())
    assert isinstance(through.verify(alice, somebody.phone.code()), Receipt)


def test_a_commit_whose_answer_was_lost_is_reported_and_complete(
    store: Any, open_store: Any, wire: LossyProxy, clock: HandClock, alice: PrincipalId
) -> None:
    through = registry_over(unprepared(open_store(wire.conninfo)), clock)
    through.requires_code(alice)  # the check of the connection commits as well
    wire.cut_after("COMMIT")
    with pytest.raises(OutcomeUnknown, match="may have been stored"):
        through.open_enrollment(alice, by=SERVICE, label="alice")
    assert [event.type for event in store.history(alice)] == [EventType.OPENED]
    assert store.load(alice).enrollment is not None


@pytest.mark.parametrize("cut", [LossyProxy.cut_before, LossyProxy.cut_after])
@pytest.mark.parametrize(
    "statement", ["SELECT revision", "BEGIN", "INTO vmfa_principal", "INTO vmfa_event"]
)
def test_a_call_that_is_known_not_to_be_committed_is_repeated(
    store: Any,
    open_store: Any,
    wire: LossyProxy,
    clock: HandClock,
    alice: PrincipalId,
    cut: Callable[[LossyProxy, str], None],
    statement: str,
) -> None:
    through = registry_over(unprepared(open_store(wire.conninfo)), clock)
    cut(wire, statement)
    through.open_enrollment(alice, by=SERVICE, label="alice")
    assert wire.happened.is_set()
    assert [event.type for event in store.history(alice)] == [EventType.OPENED]


def test_a_connection_that_died_idle_costs_nothing(
    store: Any, open_store: Any, database: str, clock: HandClock, alice: PrincipalId
) -> None:
    """A server that restarts ends idle connections: noticed before anything is sent."""
    registry = registry_over(
        open_store(make_conninfo(database, application_name=f"idle{os.getpid()}")), clock
    )
    somebody = enroll(registry, clock, alice)
    for what in ("load", "commit"):
        clock.advance(30)
        made = registry.operations.verify(alice, somebody.phone.code())
        before = registry._store.load(alice)
        sql(
            database,
            f"""SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
            WHERE application_name = 'idle{os.getpid()}'""",
        )
        if what == "load":
            before = registry._store.load(alice)
        after = made.decide(before, clock())
        assert registry._store.commit(before, after.principal, after.stored), what


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_what_the_server_undid_is_repeated(
    store: Any, open_store: Any, wire: LossyProxy, clock: HandClock, alice: PrincipalId, code: str
) -> None:
    through = registry_over(unprepared(open_store(wire.conninfo)), clock)
    wire.answer_error("INSERT INTO vmfa_principal", code)
    through.open_enrollment(alice, by=SERVICE, label="alice")
    assert wire.happened.is_set()
    assert store.load(alice).enrollment is not None


@pytest.mark.parametrize(
    ("code", "kind", "name"),
    [
        ("55P03", StoreContended, "LockNotAvailable"),
        ("57014", StoreContended, "QueryCanceled"),
        ("53100", StoreUnavailable, "DiskFull"),
        ("25006", StoreUnavailable, "ReadOnlySqlTransaction"),
        ("42501", StoreUnavailable, "InsufficientPrivilege"),
        ("XX000", StoreUnavailable, "InternalError"),
        ("23514", SchemaUntrusted, "CheckViolation"),
        ("XX001", StoreCorrupt, "DataCorrupted"),
    ],
)
def test_an_error_of_the_server_is_named_and_not_quoted(
    store: Any,
    open_store: Any,
    wire: LossyProxy,
    clock: HandClock,
    alice: PrincipalId,
    code: str,
    kind: type[StoreError],
    name: str,
) -> None:
    through = registry_over(unprepared(open_store(wire.conninfo)), clock)
    wire.answer_error("INSERT INTO vmfa_principal", code)
    with pytest.raises(kind, match=name) as caught:
        through.open_enrollment(alice, by=SERVICE, label="alice")
    assert type(caught.value) is kind
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert store.load(alice).revision == 0


def test_a_row_lock_that_is_held_too_long_is_contended(
    registry: DeviceRegistry, open_store: Any, database: str, clock: HandClock, alice: PrincipalId
) -> None:
    somebody = enroll(registry, clock, alice)
    impatient = registry_over(open_store(with_options(database, "-c lock_timeout=50")), clock)
    clock.advance(30)
    with psycopg.connect(database) as other:
        other.execute("SELECT 1 FROM vmfa_principal FOR UPDATE")
        with pytest.raises(StoreContended, match="LockNotAvailable"):
            impatient.verify(alice, somebody.phone.code())
    assert isinstance(impatient.verify(alice, somebody.phone.code()), Receipt)


def test_a_locked_row_is_waited_for_until_the_timeout(
    registry: DeviceRegistry, open_store: Any, database: str, clock: HandClock, alice: PrincipalId
) -> None:
    somebody = enroll(registry, clock, alice)
    impatient = registry_over(open_store(database, timeout=0.1), clock)
    clock.advance(30)
    with psycopg.connect(database) as other:
        other.execute("SELECT 1 FROM vmfa_principal FOR UPDATE")
        with pytest.raises(StoreContended, match="QueryCanceled"):
            impatient.verify(alice, somebody.phone.code())
    assert isinstance(impatient.verify(alice, somebody.phone.code()), Receipt)


def test_in_serializable_transactions_a_code_counts_once(
    registry: DeviceRegistry, open_store: Any, database: str, clock: HandClock, alice: PrincipalId
) -> None:
    somebody = enroll(registry, clock, alice)
    strict = registry_over(
        open_store(with_options(database, "-c default_transaction_isolation=serializable")), clock
    )
    for _ in range(5):
        clock.advance(30)
        with ThreadPoolExecutor(8) as pool:
            ends = list(
                pool.map(lambda _: outcome(strict, alice, somebody.phone.code()), range(8))
            )
        assert sorted(ends) == ["AlreadyUsed"] * 7 + ["Receipt"]


def outcome(registry: DeviceRegistry, who: PrincipalId, code: str) -> str:
    try:
        return type(registry.verify(who, code)).__name__
    except vmfa.VmfaError as error:
        return type(error).__name__


def test_an_exhausted_pool_is_unavailable(store: Any, database: str) -> None:
    with pool_of(store, database, kwargs={"autocommit": True}, min_size=1, max_size=1) as pool:
        ours = over_pool(store, pool, timeout=0.05)
        if isinstance(store, Awaited):

            async def hold() -> None:
                async with pool.connection():
                    with pytest.raises(StoreUnavailable, match="PoolTimeout"):
                        await ours.inner.load(WHO)

            store.run(hold())
        else:
            with pool.connection(), pytest.raises(StoreUnavailable, match="PoolTimeout"):
                ours.load(WHO)
        assert ours.load(WHO) == Principal(id=WHO)


def test_a_closed_pool_is_unavailable(store: Any, database: str) -> None:
    with pool_of(store, database, kwargs={"autocommit": True}, min_size=1) as pool:
        ours = over_pool(store, pool)
    with pytest.raises(StoreUnavailable, match="PoolClosed"):
        ours.load(WHO)


def test_a_server_that_is_not_there_is_unavailable(open_store: Any, tmp_path: Path) -> None:
    store = open_store(f"host={tmp_path}", timeout=0.2)
    with pytest.raises(StoreUnavailable, match="no connection"):
        store.load(WHO)
    (problem,) = store.health()
    assert isinstance(problem, StoreUnavailable)


def test_control_c_in_a_transaction_undoes_it(
    registry: DeviceRegistry, store: Any, database: str, clock: HandClock, alice: PrincipalId
) -> None:
    class Interrupted(list[AuditEvent]):
        def __iter__(self) -> Iterator[AuditEvent]:
            yield self[0]
            raise KeyboardInterrupt

    registry.open_enrollment(alice, by=SERVICE, label="alice")
    before = store.load(alice)
    made = registry.operations.cancel_enrollment(alice, by=SERVICE).decide(before, clock())
    with PostgresStore(database) as blocking:
        with pytest.raises(KeyboardInterrupt):
            blocking.commit(before, made.principal, Interrupted(made.stored))
        assert blocking.load(alice) == before
        assert len(blocking.history(alice)) == before.events
        assert blocking.commit(before, made.principal, made.stored)
    check_history(store.load(alice), store.history(alice))


# Processes


def _forked(work: Callable[[], str]) -> str:
    """What *work* gives in a forked child."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        theirs.sendall(work().encode())
        os._exit(0)
    with ours, theirs:
        os.waitpid(child, 0)
        return ours.recv(1000).decode()


def test_a_forked_child_opens_connections_of_its_own(
    database: str, clock: HandClock, alice: PrincipalId
) -> None:
    with PostgresStore(database) as store:
        store.create_schema()
        registry = registry_over(store, clock)
        somebody = enroll(registry, clock, alice)
        clock.advance(30)
        code = somebody.phone.code()
        assert _forked(lambda: outcome(registry, alice, code)) == "Receipt"
        with pytest.raises(AlreadyUsed):
            registry.verify(alice, code)
        assert isinstance(somebody.sign_in(), Receipt)


def test_a_pool_from_before_a_fork_is_refused(
    store: Any, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pool_of(store, database, kwargs={"autocommit": True}, min_size=1) as pool:
        ours = over_pool(store, pool)
        monkeypatch.setattr(postgres.os, "getpid", lambda: -1)
        with pytest.raises(StoreUnavailable, match="the pool was opened before a fork"):
            ours.load(WHO)


def test_one_asynchronous_store_serves_two_event_loops(database: str) -> None:
    """Two threads of a service run a loop each: a connection belongs to one loop."""
    shared = AsyncPostgresStore(database)
    with Awaited(shared) as one:
        one.create_schema()
        with Awaited(shared) as other, ThreadPoolExecutor(8) as threads:
            loads = [threads.submit(loop.load, WHO) for loop in (one, other) * 20]
            assert [each.result() for each in loads] == [Principal(id=WHO)] * 40
        assert one.load(WHO) == Principal(id=WHO)  # what the other loop closed was its own
        assert len(shared._own) == 1


def test_an_asynchronous_store_goes_on_in_the_next_event_loop(database: str) -> None:
    """As a command does that calls ``asyncio.run`` for each thing."""

    async def once() -> Principal:
        async with shared:
            await shared.create_schema()
            return await shared.load(WHO)

    shared = AsyncPostgresStore(database)
    for _ in range(3):
        assert asyncio.run(once()) == Principal(id=WHO)


def test_a_closed_store_opens_again_by_itself(store: Any, sent: list[str]) -> None:
    store.close()
    for _ in range(20):
        assert store.load(WHO) == Principal(id=WHO)
    assert sent.count(PROBE) <= 8  # connections are kept again
    store.close()
    store.close()


def test_many_threads_make_one_pool(database: str) -> None:
    with PostgresStore(database) as store:
        store.create_schema()
        store.close()
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(lambda _: store.load(WHO), range(32))) == [Principal(id=WHO)] * 32
        assert len(store._own) == 1


# Health


def test_a_healthy_store_has_no_problems(store: Any) -> None:
    assert store.health() == ()


@pytest.mark.parametrize(
    ("off", "words"), [(-31, "31 seconds behind"), (31, "31 seconds ahead of")]
)
def test_a_clock_that_is_off_the_databases_is_named(
    store: Any, database: str, off: int, words: str
) -> None:
    ((now,),) = sql(database, "SELECT extract(epoch FROM clock_timestamp())::float8")
    (problem,) = store.health(now + off)
    assert isinstance(problem, ClockWentBack)
    assert words in str(problem)
    assert store.health(now + off, tolerance=40) == ()
    assert store.health(now + 30) == ()


def test_health_reports_everything_that_is_wrong(
    store: Any, open_store: Any, database: str
) -> None:
    ((now,),) = sql(database, "SELECT extract(epoch FROM clock_timestamp())::float8")
    careless = with_options(
        database, "-c synchronous_commit=off -c default_transaction_read_only=on"
    )
    problems = open_store(careless).health(now + 3600)
    assert [type(problem) for problem in problems] == [
        StoreUnavailable,
        StoreUnavailable,
        ClockWentBack,
    ]


# The extra


@pytest.mark.parametrize("missing", ["psycopg", "psycopg_pool"])
@pytest.mark.parametrize("module", ["postgres", "postgres_async"])
def test_without_psycopg_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, missing: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "vmfa.stores.postgres")
    found = importlib.util.find_spec(f"vmfa.stores.{module}")
    assert found is not None
    assert found.loader is not None
    sentence = "(PostgreSQL|this store) needs psycopg 3 and its pool"
    with pytest.raises(MissingExtra, match=rf"^{sentence}: pip install 'vmfa\[postgres\]'$"):
        found.loader.exec_module(importlib.util.module_from_spec(found))


@pytest.mark.parametrize("module", ["_pool", "_wire"])
def test_without_psycopg_its_modules_name_the_extra(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, f"vmfa.stores.{module}")
    with pytest.raises(MissingExtra, match=r"pip install 'vmfa\[postgres\]'$"):
        importlib.import_module(f"vmfa.stores.{module}")


def test_a_store_that_is_not_ours_is_not_changed_by_reading(
    open_store: Any, database: str
) -> None:
    with suppress(StoreUnavailable):
        open_store(database).load(WHO)
    assert sql(
        database,
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE nspname = current_schema()",
    ) == [(0,)]


def test_the_server_of_these_tests_is_durable(server: Server) -> None:
    assert sql(server.conninfo, "SHOW fsync") == [("on",)]
