"""The asynchronous registry: the same API, every store, concurrency and cancellation."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from functools import wraps
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import vmfa
import vmfa.aio
from awaited import Awaited
from cancelling import cancelled_at
from leaks import assert_silent
from postgres_server import database, server  # noqa: F401  # fixtures
from support import MASTER, phone_with
from vmfa import (
    Actor,
    AlreadyUsed,
    AuditEvent,
    DerivedKeys,
    DeviceAlreadyAssigned,
    EventType,
    InvalidType,
    InvalidValue,
    Key,
    MemoryStore,
    Parameters,
    Policy,
    PrincipalId,
    Receipt,
    SQLiteStore,
    StoreContended,
    StoreUnavailable,
    UnsafePlainKeys,
)
from vmfa.aio import AsyncStore, InThreads
from vmfa.history import ChainCheck
from vmfa.stores.postgres_async import AsyncPostgresStore
from vmfa.testing import Account, FrozenClock
from world import error_of

SERVICE = Actor.trusted_service("importer")
KEYS = DerivedKeys(MASTER)
Run = Callable[[Awaitable[Any]], Any]
Make = Callable[..., Any]


@pytest.fixture
def loop() -> Iterator[Awaited]:
    with Awaited(object()) as awaited:
        yield awaited


@pytest.fixture
def run(loop: Awaited) -> Run:
    return loop.run


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def async_store(request: pytest.FixtureRequest, loop: Awaited, tmp_path: Path) -> Iterator[Any]:
    """Every asynchronous store in turn."""
    with ExitStack() as stack:
        if request.param == "memory":
            yield InThreads(MemoryStore())
        elif request.param == "sqlite":
            yield InThreads(stack.enter_context(SQLiteStore(tmp_path / "mfa.db")))
        else:
            store = AsyncPostgresStore(request.getfixturevalue("database"))
            loop.run(store.create_schema())
            yield store
            loop.run(store.close())


@pytest.fixture
def observed() -> list[AuditEvent]:
    return []


@pytest.fixture
def registry(
    async_store: AsyncStore, clock: FrozenClock, observed: list[AuditEvent]
) -> vmfa.aio.DeviceRegistry:
    return vmfa.aio.DeviceRegistry(
        async_store,
        keys=KEYS,
        imported_keys=UnsafePlainKeys(),
        issuer="Example",
        clock=clock,
        observer=observed.append,
    )


def in_memory(store: Any = None, **arguments: Any) -> vmfa.aio.DeviceRegistry:
    """An asynchronous registry over a store in memory."""
    store = InThreads(MemoryStore()) if store is None else store
    return vmfa.aio.DeviceRegistry(store, keys=KEYS, issuer="Example", **arguments)


async def enroll(
    registry: vmfa.aio.DeviceRegistry, clock: FrozenClock, who: PrincipalId
) -> Account:
    me = Actor.signed_in(who)
    opened = await registry.open_enrollment(who, by=me, label="alice@example.com")
    phone = phone_with(Key.from_base32(opened.base32), clock)
    await registry.confirm_enrollment(who, session=opened.session_id, by=me, **phone.pair())
    return phone


async def sign_in(
    registry: vmfa.aio.DeviceRegistry, clock: FrozenClock, who: PrincipalId
) -> Receipt:
    phone = await enroll(registry, clock, who)
    clock.advance(30)
    return await registry.verify(who, phone.code())


# The same API


def public_methods(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith("_") and callable(value)
    }


@pytest.mark.parametrize(
    ("asynchronous", "synchronous"),
    [
        (vmfa.aio.DeviceRegistry, vmfa.DeviceRegistry),
        (AsyncStore, vmfa.Store),
        (InThreads, vmfa.Store),
    ],
    ids=["DeviceRegistry", "AsyncStore", "InThreads"],
)
def test_the_asynchronous_methods_have_the_signatures_of_the_synchronous_ones(
    asynchronous: type, synchronous: type
) -> None:
    ours, theirs = public_methods(asynchronous), public_methods(synchronous)
    assert ours.keys() == theirs.keys()
    for name, method in ours.items():
        assert inspect.iscoroutinefunction(method) or name == "method_claim", name
        assert not inspect.iscoroutinefunction(theirs[name]), name
        assert inspect.signature(method) == inspect.signature(theirs[name]), name


def test_the_constructors_differ_in_the_store_only() -> None:
    ours = dict(inspect.signature(vmfa.aio.DeviceRegistry).parameters)
    theirs = dict(inspect.signature(vmfa.DeviceRegistry).parameters)
    assert list(ours) == list(theirs)
    ours.pop("store")
    theirs.pop("store")
    assert ours == theirs


# Every store


def test_every_operation_on_every_store(
    registry: vmfa.aio.DeviceRegistry,
    async_store: AsyncStore,
    clock: FrozenClock,
    alice: PrincipalId,
    owner: Actor,
    run: Run,
    observed: list[AuditEvent],
) -> None:
    async def life() -> None:
        assert not await registry.requires_code(alice)
        await registry.open_enrollment(alice, by=owner, label="first")
        await registry.cancel_enrollment(alice, by=owner)
        phone = await enroll(registry, clock, alice)
        assert await registry.requires_code(alice)
        clock.advance(30)
        receipt = await registry.verify(alice, phone.code())
        with pytest.raises(AlreadyUsed):
            await registry.verify(alice, phone.code())
        assert (await registry.device(alice, by=owner)).last_step == receipt.step
        clock.advance(90)
        await registry.resync(alice, by=owner, **phone.pair())
        await registry.reanchor(alice, by=SERVICE)
        assert await registry.principals(alice.account) == [alice]
        boss = PrincipalId.user(alice.account, "boss")
        admin = Actor.admin(boss, mfa=(await sign_in(registry, clock, boss)).claim)
        await registry.deactivate(alice, by=admin, reason="lost")
        assert [event.type for event in await registry.history(alice, by=SERVICE)] == [
            EventType.OPENED,
            EventType.CANCELED,
            EventType.OPENED,
            EventType.ASSIGNED,
            EventType.RESYNCHRONIZED,
            EventType.REANCHORED,
            EventType.DEACTIVATED,
        ]
        await registry.adopt(alice, by=SERVICE, key=Key(bytes(20)), system="elsewhere")
        await registry.forget(alice, by=SERVICE)
        assert await registry.principals(alice.account) == [boss]
        assert not await registry.history(alice, by=SERVICE)

    run(life())
    assert [event.type for event in observed].count(EventType.ACCEPTED) == 2


def test_a_code_is_accepted_once_among_many_tasks(
    registry: vmfa.aio.DeviceRegistry, clock: FrozenClock, alice: PrincipalId, run: Run
) -> None:
    async def rush() -> list[Any]:
        phone = await enroll(registry, clock, alice)
        clock.advance(30)
        return await asyncio.gather(
            *(registry.verify(alice, phone.code()) for _ in range(20)), return_exceptions=True
        )

    ends = run(rush())
    assert sum(isinstance(end, Receipt) for end in ends) == 1
    assert all(isinstance(end, (Receipt, AlreadyUsed)) for end in ends)


def test_a_lost_race_is_decided_again_and_observed_once(
    alice: PrincipalId, clock: FrozenClock, run: Run, observed: list[AuditEvent]
) -> None:
    class LosesEveryFirst(InThreads):
        lost = False

        async def commit(self, *change: Any) -> bool:
            self.lost = not self.lost
            return False if self.lost else await super().commit(*change)

    registry = vmfa.aio.DeviceRegistry(
        LosesEveryFirst(MemoryStore()),
        keys=DerivedKeys(MASTER),
        issuer="Example",
        clock=clock,
        observer=observed.append,
    )
    run(sign_in(registry, clock, alice))
    assert [event.type for event in observed] == [
        EventType.OPENED,
        EventType.ASSIGNED,
        EventType.ACCEPTED,
    ]


def test_an_observer_that_raises_changes_no_answer(
    alice: PrincipalId, clock: FrozenClock, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def observer(event: AuditEvent) -> None:
        raise RuntimeError(event.type)

    registry = vmfa.aio.DeviceRegistry(
        InThreads(MemoryStore()),
        keys=DerivedKeys(MASTER),
        issuer="Example",
        clock=clock,
        observer=observer,
    )
    with caplog.at_level(logging.ERROR, "vmfa"):
        receipt = run(sign_in(registry, clock, alice))
    assert receipt.principal == alice
    assert "observer raised" in caplog.text


def test_the_observer_is_optional(alice: PrincipalId, clock: FrozenClock, run: Run) -> None:
    registry = vmfa.aio.DeviceRegistry(
        InThreads(MemoryStore()), keys=DerivedKeys(MASTER), issuer="Example", clock=clock
    )
    assert run(sign_in(registry, clock, alice)).principal == alice


class Decorated(InThreads):
    @wraps(InThreads.load)
    def load(self, principal: PrincipalId) -> Any:
        return super().load(principal)


def test_a_store_with_decorated_methods_is_accepted(alice: PrincipalId, run: Run) -> None:
    assert run(in_memory(Decorated(MemoryStore())).requires_code(alice)) is False


def test_a_failing_store_keeps_no_code_in_its_error(alice: PrincipalId, run: Run) -> None:
    class Failing(InThreads):
        async def load(self, principal: PrincipalId) -> Any:
            raise StoreUnavailable("test")

    with pytest.raises(StoreUnavailable) as caught:
        run(in_memory(Failing(MemoryStore())).verify(alice, code="135791"))
    assert_silent(caught.value, "135791")


def test_a_coroutine_that_is_never_awaited_verifies_nothing_and_warns(
    alice: PrincipalId,
) -> None:
    registry = in_memory()
    with pytest.warns(RuntimeWarning, match="was never awaited"):
        registry.verify(alice, "123456")


def test_one_registry_works_in_two_event_loops(
    tmp_path: Path, clock: FrozenClock, alice: PrincipalId
) -> None:
    with SQLiteStore(tmp_path / "mfa.db") as store:
        registry = in_memory(InThreads(store), clock=clock)
        phone = asyncio.run(enroll(registry, clock, alice))
        for _ in range(2):
            clock.advance(30)
            assert asyncio.run(registry.verify(alice, phone.code())).step == clock() // 30


# Both registries


@pytest.fixture(params=["synchronous", "asynchronous"])
def make(request: pytest.FixtureRequest, clock: FrozenClock) -> Iterator[Make]:
    """Create a registry of either kind, whose methods are all called without await."""
    awaited: list[Awaited] = []

    def create(store: Any, **arguments: Any) -> Any:
        arguments = {"keys": KEYS, "issuer": "Example", "clock": clock, **arguments}
        if request.param == "synchronous":
            return vmfa.DeviceRegistry(store, **arguments)
        awaited.append(Awaited(vmfa.aio.DeviceRegistry(InThreads(store), **arguments)))
        return awaited[-1]

    yield create
    for registry in awaited:
        registry.__exit__()


class Recorder(MemoryStore):
    """Records the pages that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[dict[str, Any]] = []

    def principals(self, account: str, **page: Any) -> Any:
        self.pages.append(page)
        return super().principals(account, **page)

    def history(self, principal: PrincipalId, **page: Any) -> Any:
        self.pages.append(page)
        return super().history(principal, **page)


class Lasting(MemoryStore):
    volatile = False


def open_all(registry: Any, *names: str) -> list[PrincipalId]:
    """Open an enrollment for each of the users with these *names*."""
    users = [PrincipalId.user("123", name) for name in names]
    for user in users:
        registry.open_enrollment(user, by=SERVICE, label="x")
    return users


@pytest.mark.parametrize("store", [MemoryStore(), Lasting()], ids=["volatile", "lasting"])
def test_records_that_leave_the_process_are_authenticated(make: Make, store: Any) -> None:
    (alice,) = open_all(make(store), "alice")
    assert (store.load(alice).envelope is not None) is not store.volatile


def test_the_policy_reaches_the_rules(make: Make, alice: PrincipalId) -> None:
    registry = make(MemoryStore(), policy=Policy(offers=(Parameters(digits=8),)))
    assert "digits=8" in registry.open_enrollment(alice, by=SERVICE, label="x").uri


def test_the_policy_can_be_read_and_not_replaced(make: Make) -> None:
    policy = Policy(claim_seconds=600)
    registry = make(MemoryStore(), policy=policy)
    assert registry.policy is policy
    assert make(MemoryStore()).policy == Policy()
    with pytest.raises(AttributeError):
        getattr(registry, "inner", registry).policy = Policy()


def test_every_read_is_observed(make: Make, observed: list[AuditEvent]) -> None:
    registry = make(MemoryStore(), observer=observed.append)
    (alice,) = open_all(registry, "alice")
    registry.history(alice, by=SERVICE)
    assert [event.type for event in observed] == [EventType.OPENED, EventType.READ]


def test_a_page_of_principals(make: Make) -> None:
    store = Recorder()
    registry = make(store)
    alice, bob, carol = open_all(registry, "alice", "bob", "carol")
    assert list(registry.principals("123", limit=2)) == [alice, bob]
    assert list(registry.principals("123", after=alice)) == [bob, carol]
    assert list(registry.principals("123", limit=0)) == []
    assert list(registry.principals("123", limit=1_000_000)) == [alice, bob, carol]
    assert [page["limit"] for page in store.pages] == [2, 1000, 0, 1_000_000]


def test_a_page_of_the_history(make: Make) -> None:
    registry = make(MemoryStore())
    (alice,) = open_all(registry, "alice")
    for _ in range(3):
        registry.cancel_enrollment(alice, by=SERVICE)
        open_all(registry, "alice")
    pages = {
        (): [1, 2, 3, 4, 5, 6, 7],
        (("after", 1), ("limit", 1)): [2],
        (("after", 2), ("limit", 3)): [3, 4, 5],
        (("limit", 0),): [],
        (("after", 99),): [],
        (("limit", 1_000_000),): [1, 2, 3, 4, 5, 6, 7],
    }
    for page, numbers in pages.items():
        events = registry.history(alice, by=SERVICE, **dict(page))
        assert [event.number for event in events] == numbers, page


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"after": -1}, InvalidValue),
        ({"after": None}, InvalidType),
        ({"limit": -1}, InvalidValue),
        ({"limit": 1_000_001}, InvalidValue),
        ({"limit": 1.0}, InvalidType),
    ],
)
def test_an_invalid_page_of_the_history_is_refused(
    make: Make, alice: PrincipalId, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"^{next(iter(arguments))} "):
        make(MemoryStore()).history(alice, by=SERVICE, **arguments)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"account": ""}, InvalidValue),
        ({"after": "alice"}, InvalidType),
        ({"limit": -1}, InvalidValue),
        ({"limit": 1_000_001}, InvalidValue),
    ],
)
def test_an_invalid_page_of_principals_is_refused(
    make: Make, arguments: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=f"^{next(iter(arguments))} "):
        make(MemoryStore()).principals(**{"account": "123", **arguments})


def test_a_principal_must_be_a_principal_id(make: Make) -> None:
    registry = make(MemoryStore())
    for call in (registry.requires_code, lambda who: registry.verify(who, "123456")):
        with pytest.raises(InvalidType, match=r"^principal .*PrincipalId"):
            call("alice")


def test_a_store_that_never_commits_is_contended(make: Make, alice: PrincipalId) -> None:
    class Stubborn(MemoryStore):
        def commit(self, *_: object) -> bool:
            return False

    with pytest.raises(StoreContended):
        make(Stubborn()).open_enrollment(alice, by=SERVICE, label="x")


def test_a_history_that_keeps_changing_is_contended(make: Make, alice: PrincipalId) -> None:
    class Growing(MemoryStore):
        def history(self, principal: PrincipalId, **page: Any) -> Any:
            events = super().history(principal, **page)
            writer.open_enrollment(principal, by=SERVICE, label="another")
            return events

    store = Growing()
    writer = vmfa.DeviceRegistry(store, keys=KEYS, issuer="Example")
    writer.open_enrollment(alice, by=SERVICE, label="first")
    with pytest.raises(StoreContended):
        make(store).history(alice, by=SERVICE)


def test_a_history_without_its_first_event_is_tampered(make: Make, alice: PrincipalId) -> None:
    class Shortened(MemoryStore):
        def history(self, principal: PrincipalId, **page: Any) -> Any:
            return super().history(principal, **page)[1:]

    registry = make(Shortened())
    registry.open_enrollment(alice, by=SERVICE, label="first")
    with pytest.raises(vmfa.RecordTampered, match="event 1 is missing"):
        registry.history(alice, by=SERVICE)


def test_pruning_the_history(make: Make, clock: FrozenClock) -> None:
    registry = make(MemoryStore())
    (alice,) = open_all(registry, "alice")
    registry.cancel_enrollment(alice, by=SERVICE)
    older_than = int(clock()) + 1
    assert registry.prune_history(alice, by=SERVICE, older_than=older_than) == 2
    assert [event.type for event in registry.history(alice, by=SERVICE)] == [
        EventType.REDACTED,
        EventType.REDACTED,
        EventType.PRUNED,
    ]


def test_errors_of_the_registry_keep_no_code(make: Make) -> None:
    """A clock with an impossible time: no frame of the error has the codes."""
    who = PrincipalId.user("a", "alice")
    pair = {"code1": "918273", "code2": "918274", "by": Actor.signed_in(who)}
    for now in (2**63, -(2**63), 1e300):
        registry = make(MemoryStore(), clock=lambda now=now: now)
        for call in (
            lambda registry=registry: registry.verify(who, "918273"),
            lambda registry=registry: registry.resync(who, **pair),
            lambda registry=registry: registry.confirm_enrollment(who, session="s", **pair),
        ):
            with pytest.raises(InvalidValue) as caught:
                call()
            assert_silent(caught.value, "918273", "918274")


async def asynchronous_observer(event: AuditEvent) -> None:
    """Its coroutine would never be awaited."""


async def asynchronous_clock() -> float:
    """Its coroutine would never be awaited."""
    return 0.0


PARTS: dict[str, tuple[dict[str, Any], str]] = {
    "a path as the store": ({"store": "mfa.db"}, "SQLiteStore(path)"),
    "an object as the store": ({"store": object()}, "SQLiteStore(path)"),
    "a class as the store": ({"store": MemoryStore}, "SQLiteStore(path)"),
    "a class as the keys": ({"keys": DerivedKeys}, "DerivedKeys(master_key)"),
    "a master key as the keys": ({"keys": MASTER}, "DerivedKeys(master_key)"),
    "a time as the clock": ({"clock": 1_700_000_010.5}, "clock"),
    "local time as the clock": ({"clock": datetime.now}, "pass time.time"),
    "text as the time": ({"clock": time.ctime}, "pass time.time"),
    "no number as the time": ({"clock": lambda: float("nan")}, "pass time.time"),
    "an asynchronous clock": ({"clock": asynchronous_clock}, "pass time.time"),
    "a list as the observer": ({"observer": []}, "observer"),
    "an asynchronous observer": ({"observer": asynchronous_observer}, "observer"),
    "a dict as the policy": ({"policy": {}}, "policy"),
}


@pytest.mark.parametrize("kind", [vmfa.DeviceRegistry, vmfa.aio.DeviceRegistry])
@pytest.mark.parametrize("name", PARTS)
def test_a_wrong_part_is_refused_at_construction(kind: Any, name: str) -> None:
    """The error says what to pass instead."""
    arguments, hint = PARTS[name]
    store = MemoryStore() if kind is vmfa.DeviceRegistry else InThreads(MemoryStore())
    error = error_of(lambda: kind(**{"store": store, "keys": KEYS, "issuer": "E", **arguments}))
    assert isinstance(error, InvalidType)
    assert hint in str(error)


def test_the_store_of_the_other_registry_is_refused_at_construction() -> None:
    """The error names the registry or the wrapper that fits."""
    error = error_of(lambda: vmfa.DeviceRegistry(InThreads(MemoryStore()), keys=KEYS, issuer="E"))
    assert isinstance(error, InvalidType)
    assert "vmfa.aio.DeviceRegistry" in str(error)
    error = error_of(lambda: vmfa.aio.DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E"))
    assert isinstance(error, InvalidType)
    assert "aio.InThreads(store)" in str(error)


@pytest.mark.parametrize("issuer", ["", "a:b", None])
@pytest.mark.parametrize("kind", [vmfa.DeviceRegistry, vmfa.aio.DeviceRegistry])
def test_an_invalid_issuer_is_refused_at_construction(kind: Any, issuer: Any) -> None:
    store = MemoryStore() if kind is vmfa.DeviceRegistry else InThreads(MemoryStore())
    with pytest.raises((InvalidValue, InvalidType), match=r"^issuer "):
        kind(store, keys=KEYS, issuer=issuer)


MESSAGES: dict[str, tuple[Callable[[], object], str]] = {
    "store": (
        lambda: vmfa.DeviceRegistry("mfa.db", keys=KEYS, issuer="E"),
        "store must be a Store such as SQLiteStore(path)",
    ),
    "asynchronous store": (
        lambda: vmfa.DeviceRegistry(InThreads(MemoryStore()), keys=KEYS, issuer="E"),
        "this store is asynchronous: use it with vmfa.aio.DeviceRegistry",
    ),
    "synchronous store": (
        lambda: vmfa.aio.DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E"),
        "this store blocks: wrap it in vmfa.aio.InThreads(store)",
    ),
    "clock": (
        lambda: vmfa.DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E", clock=5),
        (
            "clock must be a function that returns the Unix time in seconds, as an int or a "
            "float: pass time.time"
        ),
    ),
    "observer": (
        lambda: vmfa.DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E", observer=5),
        "observer must be a plain function that takes one event",
    ),
    "keys": (
        lambda: vmfa.DeviceRegistry(MemoryStore(), keys=MASTER, issuer="E"),
        "keys must be a KeySource such as DerivedKeys(master_key)",
    ),
    "operation as a boolean": (
        lambda: bool(in_memory().operations.verify(PrincipalId.root("a"), "123456")),
        "Operation cannot be used as a boolean: call decide()",
    ),
    "actor": (
        lambda: vmfa.DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E").device(
            PrincipalId.root("a"), by=None
        ),
        "by must be an Actor: build one with Actor.signed_in(), for example",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    call, message = MESSAGES[name]
    error = error_of(call)
    assert isinstance(error, InvalidType)
    assert str(error) == message


# Cancellation: each test cancels a new call at its first await, its second, and so on.


async def commits_to_end(registry: vmfa.aio.DeviceRegistry) -> None:
    await asyncio.gather(*registry._commits, return_exceptions=True)


def every_await(run: Run, once: Callable[[int], Any]) -> int:
    """Call *once(nth)* for nth = 1, 2, ... until it reports that the call ended before.

    Returns how often a call was canceled.
    """
    for nth in count(1):
        if not run(once(nth)):
            return nth - 1
    raise AssertionError


def test_a_canceled_verification_has_counted_once_or_not_at_all(
    registry: vmfa.aio.DeviceRegistry,
    clock: FrozenClock,
    alice: PrincipalId,
    run: Run,
    observed: list[AuditEvent],
) -> None:
    phone = run(enroll(registry, clock, alice))

    async def once(nth: int) -> bool:
        clock.advance(30)
        observed.clear()
        reached, end = await cancelled_at(registry.verify(alice, phone.code()), nth)
        assert isinstance(end, asyncio.CancelledError if reached else Receipt), end
        await commits_to_end(registry)
        accepted = [event.type for event in observed].count(EventType.ACCEPTED)
        if accepted:
            with pytest.raises(AlreadyUsed):
                await registry.verify(alice, phone.code())
        else:
            await registry.verify(alice, phone.code())
        return reached

    assert every_await(run, once) >= 2  # the load and the commit


def test_a_canceled_confirmation_leaves_a_session_or_a_device(
    registry: vmfa.aio.DeviceRegistry, async_store: AsyncStore, clock: FrozenClock, run: Run
) -> None:
    async def once(nth: int) -> bool:
        who = PrincipalId.user("123456789012", f"u-{nth}")
        me = Actor.signed_in(who)
        opened = await registry.open_enrollment(who, by=me, label="alice@example.com")
        phone = phone_with(Key.from_base32(opened.base32), clock)
        confirm = registry.confirm_enrollment(
            who, session=opened.session_id, by=me, **phone.pair()
        )
        reached, _ = await cancelled_at(confirm, nth)
        await commits_to_end(registry)
        record, history = await async_store.load(who), await async_store.history(who)
        chain = ChainCheck(record)
        for event in history:
            chain.add(event)
        chain.finish()
        assert [event.type for event in history][1:] == (
            [EventType.ASSIGNED] if record.device else []
        )
        if record.device is None:
            await registry.confirm_enrollment(
                who, session=opened.session_id, by=me, **phone.pair()
            )
        with pytest.raises(DeviceAlreadyAssigned):
            await registry.open_enrollment(who, by=me, label="alice@example.com")
        return reached

    assert every_await(run, once) >= 2


def test_a_failure_is_committed_and_observed_although_the_call_was_canceled(
    registry: vmfa.aio.DeviceRegistry,
    async_store: AsyncStore,
    clock: FrozenClock,
    alice: PrincipalId,
    run: Run,
    observed: list[AuditEvent],
) -> None:
    """Otherwise a claimant who hangs up in time could guess without being counted."""
    phone = run(enroll(registry, clock, alice))
    seen = 0

    async def once(nth: int) -> bool:
        nonlocal seen
        clock.advance(4000)
        observed.clear()
        reached, _ = await cancelled_at(registry.verify(alice, phone.wrong_code()), nth)
        await commits_to_end(registry)
        seen += [event.type for event in observed].count(EventType.REJECTED)
        device = (await async_store.load(alice)).device
        assert device is not None
        assert device.failures == seen
        return reached

    every_await(run, once)
    assert seen >= 2


def test_a_commit_that_fails_after_the_call_was_canceled_logs_nothing(
    alice: PrincipalId, clock: FrozenClock, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even "Task exception was never retrieved"."""

    class Failing(InThreads):
        async def commit(self, *_: object) -> bool:
            await asyncio.sleep(0)
            raise StoreContended("test")

    registry = vmfa.aio.DeviceRegistry(
        Failing(MemoryStore()), keys=DerivedKeys(MASTER), issuer="Example", clock=clock
    )

    async def once(nth: int) -> bool:
        work = registry.open_enrollment(alice, by=Actor.signed_in(alice), label="alice")
        reached, end = await cancelled_at(work, nth)
        for _ in range(3):
            await asyncio.sleep(0)  # the commit ends without a caller
        gc.collect()
        assert isinstance(end, asyncio.CancelledError if reached else StoreContended)
        return reached

    every_await(run, once)
    assert not caplog.records


def test_a_stopping_loop_cancels_the_commit(
    alice: PrincipalId, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Hanging(InThreads):
        async def commit(self, *_: object) -> bool:
            await asyncio.Event().wait()
            return True

    registry = vmfa.aio.DeviceRegistry(
        Hanging(MemoryStore()), keys=DerivedKeys(MASTER), issuer="Example", clock=clock
    )

    async def leave() -> None:
        work = registry.open_enrollment(alice, by=Actor.signed_in(alice), label="alice")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work, 0.05)

    asyncio.run(leave())
    assert not registry._commits
    assert not caplog.records
