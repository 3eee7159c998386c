"""Each operation of the asynchronous registry does what its synchronous counterpart does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from vmfa import Actor, InvalidType, MemoryStore, Policy, PrincipalId, StoreError
from vmfa.aio import DeviceRegistry, InThreads
from vmfa.keysources.derived import DerivedKeys
from vmfa.testing import Account, AuthenticatorApp, FrozenClock

ALICE = PrincipalId.user("main", "alice")
BOB = PrincipalId.user("main", "bob")
SERVICE = Actor.trusted_service("test")
POLICY = Policy(known_clients=True, recovery_codes=2)


class LastingStore(MemoryStore):
    volatile = False


def run(awaitable: Awaitable[Any]) -> Any:
    async def main() -> Any:
        return await awaitable

    return asyncio.run(main())


@pytest.fixture
def store() -> LastingStore:
    return LastingStore()


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def registry(store: LastingStore, clock: FrozenClock) -> DeviceRegistry:
    return DeviceRegistry(
        InThreads(store), keys=DerivedKeys(bytes(range(32))), issuer="Example", policy=POLICY,
        clock=clock,
    )  # fmt: skip


def enroll(registry: DeviceRegistry, clock: FrozenClock, principal: PrincipalId) -> Account:
    by = Actor.signed_in(principal)
    opened = run(registry.open_enrollment(principal, by=by, label="x"))
    phone = AuthenticatorApp(clock).scan(opened.uri)
    run(
        registry.confirm_enrollment(principal, session=opened.session_id, by=by, **phone.pair())
    )
    return phone


def test_a_claim_of_another_method_and_its_validity(registry: DeviceRegistry) -> None:
    claim = registry.method_claim(ALICE, "passkey")
    assert run(registry.claim_is_valid(ALICE, claim, max_age=60))
    assert not run(registry.claim_is_valid(BOB, claim))


def test_a_session_without_a_claim_has_no_valid_claim(registry: DeviceRegistry) -> None:
    assert run(registry.claim_is_valid(ALICE, None)) is False
    with pytest.raises(InvalidType):
        run(registry.claim_is_valid(ALICE, {}))  # type: ignore[arg-type]  # must be refused


def test_known_clients(registry: DeviceRegistry, clock: FrozenClock) -> None:
    phone = enroll(registry, clock, ALICE)
    given = run(registry.give_client_token(ALICE, by=SERVICE))
    clock.advance(30)
    receipt = run(registry.verify(ALICE, phone.code(), client=given))
    owner = Actor.signed_in(ALICE, mfa=receipt.claim)
    run(registry.reopen(ALICE, by=owner))
    run(registry.forget_clients(ALICE, by=owner))
    run(registry.restore_budget(ALICE, by=SERVICE))
    assert run(registry.device(ALICE, by=owner)).clients.epoch == 1


def test_recovery_codes_and_binding_codes(registry: DeviceRegistry, clock: FrozenClock) -> None:
    phone = enroll(registry, clock, ALICE)
    clock.advance(30)
    claim = run(registry.verify(ALICE, phone.code())).claim
    owner = Actor.signed_in(ALICE, mfa=claim)
    code = run(registry.replace_recovery_codes(ALICE, by=owner)).codes[0]
    removal = run(registry.deactivate(ALICE, by=Actor.with_recovery_code(ALICE, code)))
    assert removal.binding_code is None


def test_a_replacement_binding_code(clock: FrozenClock, store: LastingStore) -> None:
    registry = DeviceRegistry(
        InThreads(store), keys=DerivedKeys(bytes(range(32))), issuer="Example",
        policy=Policy.strict(), clock=clock,
    )  # fmt: skip
    enroll(registry, clock, ALICE)
    first = run(registry.deactivate(ALICE, by=SERVICE)).binding_code
    assert run(registry.issue_binding_code(ALICE, by=Actor.support("1"))).code != first


def test_mark_spent_for_an_account(
    registry: DeviceRegistry, clock: FrozenClock, store: LastingStore
) -> None:
    for principal in (ALICE, BOB):
        enroll(registry, clock, principal)
    until = int(clock())
    run(registry.mark_spent(ALICE, by=SERVICE, until=until))
    assert run(registry.mark_account_spent("main", by=SERVICE, until=until)) == 2
    record, history = store._records[ALICE]
    store._records[ALICE] = (replace(record, revision=99), history)
    with pytest.raises(StoreError, match="alice"):
        run(registry.mark_account_spent("main", by=SERVICE, until=until))
