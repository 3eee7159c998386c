"""The asynchronous registry: one face with the other, one life of a device on every store, and cancellation."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

import vmfa
import vmfa.aio
from aio_fixtures import astore, database, loop, run, server  # noqa: F401  # fixtures
from cancelling import cancelled_at
from support import MASTER, HandClock, Phone
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
    NoDevice,
    PrincipalId,
    Receipt,
    StoreContended,
    UnsafePlainKeys,
)
from vmfa.aio import AsyncStore, InThreads
from vmfa.history import check_chain

SERVICE = Actor.trusted_service("importer")


def members(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_") and callable(value)}


def same_face(waiting: type, blocking: type) -> None:
    assert members(waiting).keys() == members(blocking).keys()
    for name, method in members(waiting).items():
        assert inspect.iscoroutinefunction(method), name
        assert not inspect.iscoroutinefunction(members(blocking)[name]), name
        assert inspect.signature(method) == inspect.signature(members(blocking)[name]), name


def test_the_two_registries_have_one_face() -> None:
    same_face(vmfa.aio.DeviceRegistry, vmfa.DeviceRegistry)
    ours = inspect.signature(vmfa.aio.DeviceRegistry).parameters
    theirs = inspect.signature(vmfa.DeviceRegistry).parameters
    assert list(ours) == list(theirs)
    assert [ours[name] for name in ours if name != "store"] == [theirs[name] for name in theirs if name != "store"]


def test_the_two_store_ports_have_one_face() -> None:
    same_face(AsyncStore, vmfa.Store)
    same_face(InThreads, vmfa.Store)


@pytest.fixture
def told() -> list[AuditEvent]:
    return []


@pytest.fixture
def registry(astore: AsyncStore, clock: HandClock, told: list[AuditEvent]) -> vmfa.aio.DeviceRegistry:
    return vmfa.aio.DeviceRegistry(
        astore, keys=DerivedKeys(MASTER), imported_keys=UnsafePlainKeys(), issuer="Example", clock=clock,
        observer=told.append,
    )


async def enroll(registry: vmfa.aio.DeviceRegistry, clock: HandClock, who: PrincipalId) -> Phone:
    me = Actor.signed_in(who)
    opened = await registry.open_enrollment(who, by=me, label="alice@example.com")
    phone = Phone(Key.from_base32(opened.base32), clock)
    await registry.confirm_enrollment(who, session=opened.session_id, by=me, **phone.pair())
    return phone


def test_every_operation_on_every_store(
    registry: vmfa.aio.DeviceRegistry, astore: AsyncStore, clock: HandClock, alice: PrincipalId, owner: Actor, run: Any,
    told: list[AuditEvent],
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
        await registry.deactivate(alice, by=admin, reason="lost")  # the claim is checked on the boss's record
        assert [event.type for event in await registry.history(alice, by=SERVICE)] == [
            EventType.OPENED, EventType.CANCELLED, EventType.OPENED, EventType.ASSIGNED, EventType.RESYNCHRONIZED,
            EventType.REANCHORED, EventType.DEACTIVATED,
        ]
        await registry.adopt(alice, by=SERVICE, key=Key(bytes(20)), source="elsewhere")
        await registry.forget(alice, by=SERVICE)
        assert await registry.principals(alice.account) == [boss]
        assert not await registry.history(alice, by=SERVICE)

    run(life())
    assert [event.type for event in told].count(EventType.ACCEPTED) == 2


async def sign_in(registry: vmfa.aio.DeviceRegistry, clock: HandClock, who: PrincipalId) -> Receipt:
    phone = await enroll(registry, clock, who)
    clock.advance(30)
    return await registry.verify(who, phone.code())


def test_a_code_counts_once_among_many_tasks(
    registry: vmfa.aio.DeviceRegistry, clock: HandClock, alice: PrincipalId, run: Any
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


def test_who_is_not_a_principal_is_refused(registry: vmfa.aio.DeviceRegistry, run: Any) -> None:
    with pytest.raises(InvalidType, match="principal"):
        run(registry.verify("alice", "123456"))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InvalidType, match="principal"):
        run(registry.requires_code("alice"))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InvalidType, match="after"):
        run(registry.principals("123456789012", after="alice"))  # type: ignore[arg-type]  # on purpose


def test_pages_have_bounds(registry: vmfa.aio.DeviceRegistry, alice: PrincipalId, run: Any) -> None:
    with pytest.raises(InvalidValue, match="limit"):
        run(registry.history(alice, by=SERVICE, limit=-1))
    with pytest.raises(InvalidValue, match="limit"):
        run(registry.principals(alice.account, limit=-1))
    with pytest.raises(InvalidValue, match="account"):
        run(registry.principals(""))


def test_a_history_that_keeps_growing_while_it_is_read_is_contended(
    alice: PrincipalId, clock: HandClock, run: Any
) -> None:
    class Growing(InThreads):
        async def history(self, principal: PrincipalId, **page: int) -> Any:
            events = await super().history(principal, **page)
            await writer.open_enrollment(principal, by=SERVICE, label="another")
            return events

    store = MemoryStore()
    writer = vmfa.aio.DeviceRegistry(InThreads(store), keys=DerivedKeys(MASTER), issuer="Example", clock=clock)
    reader = vmfa.aio.DeviceRegistry(Growing(store), keys=DerivedKeys(MASTER), issuer="Example", clock=clock)
    with pytest.raises(StoreContended, match="history"):
        run(reader.history(alice, by=SERVICE))


def test_a_store_that_always_says_no_is_contended(alice: PrincipalId, owner: Actor, run: Any) -> None:
    class Stubborn(MemoryStore):
        def commit(self, *_: object) -> bool:
            return False

    registry = vmfa.aio.DeviceRegistry(InThreads(Stubborn()), keys=DerivedKeys(MASTER), issuer="Example")
    with pytest.raises(StoreContended):
        run(registry.open_enrollment(alice, by=owner, label="alice"))


def test_a_lost_race_is_decided_anew_and_told_once(
    alice: PrincipalId, clock: HandClock, run: Any, told: list[AuditEvent]
) -> None:
    class LosesEveryFirst(InThreads):
        lost = False

        async def commit(self, *change: Any) -> bool:
            self.lost = not self.lost
            return False if self.lost else await super().commit(*change)

    registry = vmfa.aio.DeviceRegistry(
        LosesEveryFirst(MemoryStore()), keys=DerivedKeys(MASTER), issuer="Example", clock=clock, observer=told.append
    )
    run(sign_in(registry, clock, alice))
    assert [event.type for event in told] == [EventType.OPENED, EventType.ASSIGNED, EventType.ACCEPTED]


def test_an_observer_that_raises_changes_no_answer(
    alice: PrincipalId, clock: HandClock, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def observer(event: AuditEvent) -> None:
        raise RuntimeError(event.type)

    registry = vmfa.aio.DeviceRegistry(
        InThreads(MemoryStore()), keys=DerivedKeys(MASTER), issuer="Example", clock=clock, observer=observer
    )
    with caplog.at_level(logging.ERROR, "vmfa"):
        receipt = run(sign_in(registry, clock, alice))
    assert receipt.principal == alice
    assert "the observer raised" in caplog.text


def test_without_an_observer_nobody_is_told(alice: PrincipalId, clock: HandClock, run: Any) -> None:
    registry = vmfa.aio.DeviceRegistry(
        InThreads(MemoryStore()), keys=DerivedKeys(MASTER), issuer="Example", clock=clock
    )
    assert run(sign_in(registry, clock, alice)).principal == alice


# Cancellation. Each test cancels a fresh run at its first await, its second, and so on until one is not reached.


async def what_goes_on(registry: vmfa.aio.DeviceRegistry) -> None:
    await asyncio.gather(*registry._committing, return_exceptions=True)


def every_await(run: Any, once: Callable[[int], Any]) -> int:
    """Call *once(nth)* for nth = 1, 2, ... until the work is done before; how often it was cancelled."""
    for nth in count(1):
        if not run(once(nth)):
            return nth - 1
    raise AssertionError


def test_a_cancelled_verification_has_counted_once_or_not_at_all(
    registry: vmfa.aio.DeviceRegistry, clock: HandClock, alice: PrincipalId, run: Any, told: list[AuditEvent]
) -> None:
    phone = run(enroll(registry, clock, alice))

    async def once(nth: int) -> bool:
        clock.advance(30)
        told.clear()
        reached, end = await cancelled_at(registry.verify(alice, phone.code()), nth)
        assert isinstance(end, asyncio.CancelledError if reached else Receipt), end
        await what_goes_on(registry)
        accepted = [event.type for event in told].count(EventType.ACCEPTED)  # what was committed was told
        if accepted:
            with pytest.raises(AlreadyUsed):
                await registry.verify(alice, phone.code())
        else:
            await registry.verify(alice, phone.code())
        return reached

    assert every_await(run, once) >= 2  # the load and the commit


def test_a_cancelled_confirmation_leaves_a_session_or_a_device(
    registry: vmfa.aio.DeviceRegistry, astore: AsyncStore, clock: HandClock, run: Any
) -> None:
    async def once(nth: int) -> bool:
        who = PrincipalId.user("123456789012", f"u-{nth}")
        me = Actor.signed_in(who)
        opened = await registry.open_enrollment(who, by=me, label="alice@example.com")
        phone = Phone(Key.from_base32(opened.base32), clock)
        confirm = registry.confirm_enrollment(who, session=opened.session_id, by=me, **phone.pair())
        reached, _ = await cancelled_at(confirm, nth)
        await what_goes_on(registry)
        record, history = await astore.load(who), await astore.history(who)
        assert record.head == check_chain(history, 0, "", DerivedKeys(MASTER))
        assert [event.type for event in history][1:] == ([EventType.ASSIGNED] if record.device else [])
        if record.device is None:
            await registry.confirm_enrollment(who, session=opened.session_id, by=me, **phone.pair())
        with pytest.raises(DeviceAlreadyAssigned):
            await registry.open_enrollment(who, by=me, label="alice@example.com")
        return reached

    assert every_await(run, once) >= 2


def test_a_refusal_whose_caller_is_gone_is_committed_and_told(
    registry: vmfa.aio.DeviceRegistry, astore: AsyncStore, clock: HandClock, alice: PrincipalId, run: Any,
    told: list[AuditEvent],
) -> None:
    """Else who hangs up in time could guess unseen."""
    phone = run(enroll(registry, clock, alice))
    seen = 0

    async def once(nth: int) -> bool:
        nonlocal seen
        clock.advance(4000)
        told.clear()
        reached, _ = await cancelled_at(registry.verify(alice, phone.wrong_code()), nth)
        await what_goes_on(registry)
        seen += [event.type for event in told].count(EventType.REJECTED)
        device = (await astore.load(alice)).device
        assert device is not None
        assert device.failures == seen
        return reached

    every_await(run, once)
    assert seen >= 2


def test_a_commit_that_fails_after_its_caller_left_is_silent(
    alice: PrincipalId, clock: HandClock, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """No "Task exception was never retrieved" either."""

    class Failing(InThreads):
        async def commit(self, *_: object) -> bool:
            await asyncio.sleep(0)
            raise StoreContended("no")

    registry = vmfa.aio.DeviceRegistry(Failing(MemoryStore()), keys=DerivedKeys(MASTER), issuer="Example", clock=clock)

    async def once(nth: int) -> bool:
        work = registry.open_enrollment(alice, by=Actor.signed_in(alice), label="alice")
        reached, end = await cancelled_at(work, nth)
        for _ in range(3):
            await asyncio.sleep(0)  # what goes on ends, and nobody looks
        gc.collect()
        assert isinstance(end, asyncio.CancelledError if reached else StoreContended)
        return reached

    every_await(run, once)
    assert not caplog.records


def test_a_loop_that_stops_cancels_the_commit_too(
    alice: PrincipalId, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Hanging(InThreads):
        async def commit(self, *_: object) -> bool:
            await asyncio.Event().wait()
            return True

    registry = vmfa.aio.DeviceRegistry(Hanging(MemoryStore()), keys=DerivedKeys(MASTER), issuer="Example", clock=clock)

    async def leave() -> None:
        work = registry.open_enrollment(alice, by=Actor.signed_in(alice), label="alice")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(work, 0.05)

    asyncio.run(leave())
    assert not registry._committing
    assert not caplog.records  # nor does its end trouble the loop


def test_who_has_no_device_is_told_so(registry: vmfa.aio.DeviceRegistry, alice: PrincipalId, run: Any) -> None:
    with pytest.raises(NoDevice):
        run(registry.verify(alice, "123456"))
