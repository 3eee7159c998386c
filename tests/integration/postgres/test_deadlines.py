"""D1, D2: every call ends within its timeout plus a second, and says what may have been stored."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from test_postgres_store import over_pool, pool_of, registry_over, unprepared

from awaited import Awaited
from lossy_proxy import LossyProxy
from postgres_server import Server, own_server
from support import Enrolled, enroll
from vmfa import (
    Actor,
    AlreadyUsed,
    OutcomeUnknown,
    PrincipalId,
    StoreContended,
    StoreError,
    StoreUnavailable,
)
from vmfa.testing import FrozenClock

pytestmark = pytest.mark.slow

WHO = PrincipalId.user("123456789012", "u-4711")
SERVICE = Actor.trusted_service("test")
TIMEOUT = 1.0
EVERY_CALL: dict[str, Callable[[Any], object]] = {
    "load": lambda store: store.load(WHO),
    "history": lambda store: store.history(WHO),
    "principals": lambda store: store.principals(WHO.account),
    "create_schema": lambda store: store.create_schema(),
    "health": lambda store: raise_problems(store),  # noqa: PLW0108  # defined below
}


def raise_problems(store: Any) -> None:
    for problem in store.health():
        raise problem


@contextmanager
def ends_in_time(kind: type[StoreError], timeout: float = TIMEOUT) -> Iterator[None]:
    """Check that the block raises *kind* within *timeout* plus a second, and print how long."""
    start = time.monotonic()
    with pytest.raises(kind) as caught:
        yield
    seconds = time.monotonic() - start
    print(f"{seconds:.2f} s: {type(caught.value).__name__}: {caught.value}")
    assert seconds < timeout + 1


@pytest.fixture
def wire(database: str) -> Iterator[LossyProxy]:
    with LossyProxy(database) as proxy:
        yield proxy


@pytest.mark.parametrize("name", EVERY_CALL)
def test_a_peer_that_falls_silent_during_a_call(
    store: Any, open_store: Any, wire: LossyProxy, name: str
) -> None:
    through = open_store(wire.conninfo, timeout=TIMEOUT)
    through.load(WHO)
    wire.fall_silent()
    with ends_in_time(StoreUnavailable):
        EVERY_CALL[name](through)
    with ends_in_time(StoreUnavailable):  # and the next one, which has to connect
        EVERY_CALL[name](through)


@pytest.mark.parametrize("stored", [False, True])
def test_a_peer_that_falls_silent_at_a_commit(
    store: Any, open_store: Any, wire: LossyProxy, clock: FrozenClock, stored: bool
) -> None:
    user = enroll(registry_over(store, clock), clock, WHO)
    through = registry_over(unprepared(open_store(wire.conninfo, timeout=TIMEOUT)), clock)
    clock.advance(30)
    code = user.phone.code()
    (wire.fall_silent_after if stored else wire.fall_silent_before)("UPDATE vmfa_principal")
    with ends_in_time(OutcomeUnknown):
        through.verify(WHO, code)
    if stored:
        with pytest.raises(AlreadyUsed):
            user.registry.verify(WHO, code)
    else:
        assert user.registry.verify(WHO, code)


@pytest.mark.parametrize("statement", ["INTO vmfa_principal", "INTO vmfa_event", "COMMIT"])
def test_a_peer_that_falls_silent_in_a_transaction(
    store: Any, open_store: Any, wire: LossyProxy, clock: FrozenClock, statement: str
) -> None:
    through = registry_over(unprepared(open_store(wire.conninfo, timeout=TIMEOUT)), clock)
    through.requires_code(WHO)
    wire.fall_silent_before(statement)
    kind = OutcomeUnknown if statement == "COMMIT" else StoreUnavailable
    with ends_in_time(kind):
        through.open_enrollment(WHO, by=SERVICE, label="x")
    assert store.load(WHO).revision == 0


@contextmanager
def locked(database: str, table: str) -> Iterator[None]:
    with psycopg.connect(database) as other:
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        other.rollback()


@pytest.mark.parametrize("table", ["vmfa_schema", "vmfa_principal", "vmfa_event"])
@pytest.mark.parametrize("name", [*EVERY_CALL, "commit"])
def test_a_locked_table(
    store: Any, open_store: Any, database: str, clock: FrozenClock, table: str, name: str
) -> None:
    user = enroll(registry_over(store, clock), clock, WHO)
    fresh = open_store(database, timeout=TIMEOUT)
    with locked(database, table):
        start = time.monotonic()
        try:
            if name == "commit":
                registry_over(fresh, clock).deactivate(WHO, by=SERVICE)
            else:
                EVERY_CALL[name](fresh)
        except StoreContended:
            print(f"{time.monotonic() - start:.2f} s")
        assert time.monotonic() - start < TIMEOUT + 1
    assert registry_over(fresh, clock).requires_code(WHO)
    assert user.sign_in()


@contextmanager
def silent_host() -> Iterator[int]:
    """The port of a host that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("name", EVERY_CALL)
def test_several_silent_hosts(open_store: Any, name: str) -> None:
    with ExitStack() as opened:
        ports = [str(opened.enter_context(silent_host())) for _ in range(4)]
        conninfo = f"host={','.join(['127.0.0.1'] * 4)} port={','.join(ports)} dbname=x user=x"
        store = open_store(conninfo, timeout=TIMEOUT)
        with ends_in_time(StoreUnavailable):
            EVERY_CALL[name](store)


@pytest.mark.parametrize("name", EVERY_CALL)
def test_a_saturated_pool(store: Any, database: str, name: str) -> None:
    kwargs = {"autocommit": True}
    with pool_of(store, database, kwargs=kwargs, min_size=1, max_size=1) as pool:
        waiting = over_pool(store, pool, timeout=TIMEOUT)
        is_async = isinstance(store, Awaited)
        held = store.run(pool.getconn()) if is_async else pool.getconn()
        with ends_in_time(StoreUnavailable):
            EVERY_CALL[name](waiting)
        start = time.monotonic()
        with pytest.raises(StoreUnavailable):
            EVERY_CALL[name](waiting)
        assert time.monotonic() - start < 0.5  # the next call does not wait as long
        store.run(pool.putconn(held)) if is_async else pool.putconn(held)
        assert waiting.load(WHO).revision == 0


def test_many_threads_fail_fast_while_the_database_is_down(open_store: Any) -> None:
    """D6: each call held its thread for the whole timeout."""
    store = open_store("host=/nowhere", timeout=10)
    start = time.monotonic()
    for _ in range(100):
        with pytest.raises(StoreUnavailable, match="/nowhere"):
            store.load(WHO)
    assert time.monotonic() - start < 1


@pytest.fixture(scope="module")
def replicated() -> Iterator[Server]:
    """A server that waits for a standby that does not exist."""
    server = own_server()
    with psycopg.connect(server.conninfo, autocommit=True) as db:
        db.execute("CREATE SCHEMA replicated")
    yield server
    with psycopg.connect(server.conninfo, autocommit=True) as db:
        db.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        db.execute("SELECT pg_reload_conf()")


def expect_standby(server: Server, names: str) -> None:
    with psycopg.connect(server.conninfo, autocommit=True) as db:
        db.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        db.execute("SELECT pg_reload_conf()")
        while db.execute("SHOW synchronous_standby_names").fetchone() != (names,):
            time.sleep(0.01)


def test_a_lost_synchronous_standby(
    replicated: Server, open_store: Any, clock: FrozenClock
) -> None:
    """D2: the warning of the canceled wait was taken for a success."""
    expect_standby(replicated, "")
    store = open_store(replicated.conninfo, timeout=TIMEOUT)
    store.create_schema()
    registry = registry_over(store, clock)
    who = PrincipalId.user("123456789012", f"u-{time.monotonic_ns()}")
    user: Enrolled = enroll(registry, clock, who)
    clock.advance(30)
    code = user.phone.code()
    expect_standby(replicated, "missing")
    with ends_in_time(OutcomeUnknown):
        registry.verify(who, code)
    with pytest.raises(AlreadyUsed):
        registry.verify(who, code)  # it is stored on the primary
    with ends_in_time(OutcomeUnknown):
        registry.deactivate(who, by=SERVICE)
    store.create_schema()  # nothing is missing, so nothing is written
    assert store.health() == ()
    expect_standby(replicated, "")


def test_an_operator_who_cancels_the_wait_for_the_standby(
    replicated: Server, open_store: Any, clock: FrozenClock
) -> None:
    expect_standby(replicated, "")
    store = open_store(replicated.conninfo, timeout=10)
    store.create_schema()
    registry = registry_over(store, clock)
    who = PrincipalId.user("123456789012", f"u-{time.monotonic_ns()}")
    user = enroll(registry, clock, who)
    clock.advance(30)
    expect_standby(replicated, "missing")

    def cancel() -> None:
        with psycopg.connect(replicated.conninfo, autocommit=True) as db:
            for _ in range(500):
                rows = db.execute("""SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                    WHERE wait_event = 'SyncRep'""").fetchall()
                if rows:
                    return
                time.sleep(0.01)

    thread = Thread(target=cancel)
    thread.start()
    with pytest.raises(OutcomeUnknown, match="the database warned"):
        registry.verify(who, user.phone.code())
    thread.join()
    expect_standby(replicated, "")


def test_a_required_standby_that_is_bypassed_is_refused(
    replicated: Server, open_store: Any
) -> None:
    expect_standby(replicated, "")
    open_store(replicated.conninfo).create_schema()
    for setting, names in (("on", ""), ("local", "missing"), ("off", "missing")):
        expect_standby(replicated, names)
        conninfo = make_conninfo(replicated.conninfo, options=f"-c synchronous_commit={setting}")
        store = open_store(conninfo, require_synchronous_standby=True, unsafe_not_durable=True)
        with pytest.raises(StoreUnavailable, match="standby"):
            store.load(WHO)
    expect_standby(replicated, "missing")
    assert open_store(replicated.conninfo, require_synchronous_standby=True).load(WHO).id == WHO
    expect_standby(replicated, "")


def test_a_slow_name_server(open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer blocks libpq and Python alike."""
    lookup = socket.getaddrinfo

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(3)
        return lookup(*arguments, **options)

    connect = psycopg.connect
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(
        psycopg, "connect", lambda **settings: (time.sleep(3), connect(**settings))[1]
    )
    store = open_store("host=localhost port=1 dbname=x user=x", timeout=TIMEOUT)
    with ends_in_time(StoreUnavailable):
        store.load(WHO)
    time.sleep(2.5)
