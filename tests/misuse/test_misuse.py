"""What a hurried engineer would write. Each either does no harm, or fails at once and says what to write instead.

What a type checker already refuses stands in ``tests/typing``; here the same is run without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import vmfa
from stores.children import in_child
from support import MASTER, START, Enrolled, HandClock, Phone, enroll
from vmfa import (
    AccessDenied,
    Actor,
    AlreadyUsed,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    InvalidType,
    InvalidValue,
    Key,
    MalformedCode,
    MemoryStore,
    NoDevice,
    NoSession,
    OutOfSync,
    PairRejected,
    PrincipalId,
    SQLiteStore,
    StoreError,
    Sync,
    VmfaError,
    totp,
    verify_totp,
)
from vmfa.aio import DeviceRegistry as AsyncRegistry, InThreads

RAW = bytes(range(20))
BASE32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def refusal(call: Callable[[], object]) -> VmfaError:
    with pytest.raises(VmfaError) as caught:
        call()
    return caught.value


# Results that nobody looks at


def test_whoever_ignores_the_answer_of_verify_is_still_stopped_by_a_wrong_code(enrolled: Enrolled):
    def log_in(code: str) -> None:
        enrolled.registry.verify(enrolled.principal, code)
        signed_in.append(code)

    signed_in: list[str] = []
    enrolled.clock.advance(30)
    assert isinstance(refusal(lambda: log_in(enrolled.phone.wrong_code())), CodeRejected)
    assert not signed_in


def test_whoever_ignores_the_step_of_the_stateless_layer_is_still_stopped_by_a_wrong_code():
    code = "000000" if totp(RAW, START) != "000000" else "000001"
    with pytest.raises(CodeRejected):
        verify_totp(RAW, code, START, after=-1, window=0)


def test_the_stateless_layer_cannot_be_asked_without_the_position_that_stops_replay():
    with pytest.raises(TypeError, match="after"):
        verify_totp(RAW, totp(RAW, START), START)
    assert "after is an int" in str(refusal(lambda: verify_totp(RAW, totp(RAW, START), START, after=None)))


def test_whoever_ignores_an_out_of_sync_report_learns_it_from_the_next_code(registry, clock, alice):
    late = enroll(registry, clock, alice, steps_off=-5)
    assert late.device.sync is Sync.OUT_OF_SYNC
    clock.advance(30)
    told = refusal(lambda: registry.verify(alice, late.phone.code()))
    assert isinstance(told, OutOfSync)
    assert told.remedy == "resync"
    assert told.claimant_message


def test_a_decision_that_nobody_commits_leaves_the_code_unspent_and_the_registry_right(enrolled, store):
    """Forgetting the commit is the one thing that no value can notice: what is decided is visible in the store only."""
    enrolled.clock.advance(30)
    code, registry = enrolled.phone.code(), enrolled.registry
    decision = registry.operations.verify(enrolled.principal, code).decide(
        store.load(enrolled.principal), enrolled.clock()
    )
    assert decision.principal is not store.load(enrolled.principal)
    assert registry.verify(enrolled.principal, code).step == decision.settle().step
    assert isinstance(refusal(lambda: registry.verify(enrolled.principal, code)), AlreadyUsed)


def test_a_refused_decision_raises_where_its_answer_is_wanted(enrolled, store):
    enrolled.clock.advance(30)
    operation = enrolled.registry.operations.verify(enrolled.principal, enrolled.phone.wrong_code())
    decision = operation.decide(store.load(enrolled.principal), enrolled.clock())
    assert isinstance(refusal(decision.settle), CodeRejected)


def test_an_operation_has_no_answer_before_it_is_decided(registry, alice):
    with pytest.raises(AttributeError, match="'Operation' object has no attribute 'settle'"):
        registry.operations.verify(alice, "123456").settle()


def test_a_coroutine_that_nobody_awaits_verifies_nothing_and_python_says_so(alice):
    registry = AsyncRegistry(InThreads(MemoryStore()), keys=DerivedKeys(MASTER), issuer="Example")
    with pytest.warns(RuntimeWarning, match="was never awaited"):
        registry.verify(alice, "123456")


# Arguments


@pytest.mark.parametrize("code", [123456, 123456.0, b"123456", None, True, ["123456"]], ids=repr)
def test_a_code_that_is_no_text(enrolled, code):
    before = enrolled.device
    told = refusal(lambda: enrolled.registry.verify(enrolled.principal, code))
    assert isinstance(told, MalformedCode)
    assert str(told) == "a code is text of exactly 6 ASCII digits"
    assert enrolled.device == before


@pytest.mark.parametrize("moment", [datetime(2023, 11, 14, 22, 13), datetime(2023, 11, 14, tzinfo=UTC), "1700000010"])
def test_a_time_that_is_no_number_of_seconds(moment):
    for call in (lambda: totp(RAW, moment), lambda: vmfa.step_at(moment), lambda: vmfa.seconds_left(moment),
                 lambda: verify_totp(RAW, "123456", moment, after=-1)):
        told = refusal(call)
        assert isinstance(told, InvalidType)
        assert "use time.time()" in str(told)


def test_a_clock_that_gives_datetimes(store, keys, alice):
    registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=datetime.now)
    assert "use time.time()" in str(refusal(lambda: registry.verify(alice, "123456")))


def test_a_key_as_text():
    for call in (lambda: totp(BASE32, START), lambda: Key(BASE32), lambda: vmfa.hotp(BASE32, 0)):
        told = refusal(call)
        assert isinstance(told, InvalidType)
        assert "Key.from_base32(text)" in str(told)
        assert BASE32 not in str(told)


def test_the_letters_of_base32_as_bytes_are_a_key_of_another_length_and_show_other_codes():
    """Nothing can tell 32 random bytes from 32 letters: the codes differ, so the first trial with a phone shows it."""
    assert totp(BASE32.encode(), START) != totp(Key.from_base32(BASE32), START)


def test_a_master_key_as_text_or_too_short():
    assert str(refusal(lambda: DerivedKeys("x" * 32))) == "a master key is bytes"
    assert str(refusal(lambda: DerivedKeys(b"changeme"))) == "a master key has at least 32 bytes"


def test_a_master_key_where_a_key_source_belongs(store):
    told = refusal(lambda: DeviceRegistry(store, keys=MASTER, issuer="Example"))
    assert "DerivedKeys(master_key)" in str(told)


@pytest.mark.parametrize("who", ["alice", None, ("123456789012", "u-4711"), 4711], ids=repr)
def test_a_principal_that_is_none(registry, owner, who):
    calls = (lambda: registry.verify(who, "123456"), lambda: registry.requires_code(who),
             lambda: registry.open_enrollment(who, by=owner, label="a"), lambda: registry.device(who, by=owner))
    for call in calls:
        told = refusal(call)
        assert isinstance(told, InvalidType)
        assert str(told) == "principal is a PrincipalId"


@pytest.mark.parametrize("by", [None, "alice", PrincipalId.user("123456789012", "u-4711"), True], ids=str)
def test_nobody_in_particular_acts(enrolled, by):
    registry, who = enrolled.registry, enrolled.principal
    calls = (
        lambda: registry.deactivate(who, by=by), lambda: registry.device(who, by=by),
        lambda: registry.history(who, by=by), lambda: registry.open_enrollment(who, by=by, label="a"),
        lambda: registry.resync(who, code1="123456", code2="123457", by=by), lambda: registry.forget(who, by=by),
        lambda: registry.cancel_enrollment(who, by=by), lambda: registry.reanchor(who, by=by),
    )
    for call in calls:
        told = refusal(call)
        assert isinstance(told, InvalidType)
        assert str(told) == "by is an Actor: build one with Actor.signed_in and its like"
    assert enrolled.device


def test_a_receipt_where_its_claim_belongs(enrolled):
    receipt = enrolled.sign_in()
    assert str(refusal(lambda: Actor.signed_in(enrolled.principal, mfa=receipt))) == "mfa is a MfaClaim"


def test_an_administrator_without_mfa_or_a_user_who_says_administrator(enrolled):
    registry, target = enrolled.registry, PrincipalId.user(enrolled.principal.account, "another")
    boss = Actor.admin(enrolled.principal)
    assert isinstance(refusal(lambda: registry.deactivate(target, by=boss)), AccessDenied)
    assert isinstance(refusal(lambda: registry.deactivate(enrolled.principal, by=boss)), AccessDenied)


def test_a_policy_with_a_slip_in_it():
    with pytest.raises(TypeError, match="windows"):
        vmfa.Policy(windows=2)
    assert str(refusal(lambda: vmfa.Policy().replace(windows=2))) == "Policy has no field 'windows'"
    assert isinstance(refusal(lambda: vmfa.Policy(window="2")), InvalidType)
    assert isinstance(refusal(lambda: vmfa.Policy(window=True)), InvalidType)
    assert isinstance(refusal(lambda: vmfa.Policy(window=1000)), InvalidValue)


def test_a_policy_is_not_changed_behind_the_registrys_back(registry):
    with pytest.raises(AttributeError):
        registry.operations.policy.window = 5
    device_policy = replace(registry.operations.policy, window=2)
    assert registry.operations.policy.window == 1 != device_policy.window


# The wizard


def wizard(registry: DeviceRegistry, clock: HandClock, alice: PrincipalId, owner: Actor) -> tuple[str, Phone]:
    opened = registry.open_enrollment(alice, by=owner, label="alice@example.com")
    return opened.session_id, Phone(Key.from_base32(opened.base32), clock)


def test_the_two_codes_swapped(registry, clock, alice, owner):
    session, phone = wizard(registry, clock, alice, owner)
    pair = phone.pair()
    told = refusal(lambda: registry.confirm_enrollment(
        alice, session=session, by=owner, code1=pair["code2"], code2=pair["code1"]))
    assert isinstance(told, PairRejected)
    assert told.remedy == "retry"
    assert "two consecutive codes" in str(told)
    assert registry.confirm_enrollment(alice, session=session, by=owner, **pair).sync is Sync.IN_SYNC


def test_one_code_twice(registry, clock, alice, owner):
    session, phone = wizard(registry, clock, alice, owner)
    code = phone.code()
    told = refusal(lambda: registry.confirm_enrollment(alice, session=session, by=owner, code1=code, code2=code))
    assert isinstance(told, PairRejected)
    assert not registry.requires_code(alice)


def test_the_codes_by_position(registry, alice):
    with pytest.raises(TypeError, match="positional"):
        registry.confirm_enrollment(alice, "session", "123456", "123457")


def test_a_session_used_again(registry, clock, alice, owner):
    session, phone = wizard(registry, clock, alice, owner)
    registry.confirm_enrollment(alice, session=session, by=owner, **phone.pair())
    device = registry.device(alice, by=owner)
    told = refusal(lambda: registry.confirm_enrollment(alice, session=session, by=owner, **phone.pair(2)))
    assert isinstance(told, NoSession)
    assert str(told) == "no such enrollment session is open"
    assert registry.device(alice, by=owner) == device


def test_a_session_of_before_the_page_was_loaded_again(registry, clock, alice, owner):
    session, phone = wizard(registry, clock, alice, owner)
    wizard(registry, clock, alice, owner)
    told = refusal(lambda: registry.confirm_enrollment(alice, session=session, by=owner, **phone.pair()))
    assert isinstance(told, NoSession)


def test_the_whole_answer_where_the_session_belongs(registry, alice, owner):
    opened = registry.open_enrollment(alice, by=owner, label="alice@example.com")
    told = refusal(lambda: registry.confirm_enrollment(
        alice, session=opened, by=owner, code1="123456", code2="123457"))
    assert isinstance(told, NoSession)


def test_the_answer_that_shows_the_key_is_neither_logged_nor_kept_in_a_web_session(registry, alice, owner):
    import json
    import pickle

    opened = registry.open_enrollment(alice, by=owner, label="alice@example.com")
    assert opened.base32 not in f"{opened} {opened!r}"
    assert "neither pickled nor copied" in str(refusal(lambda: pickle.dumps(opened)))
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(opened)


def test_a_second_device_instead_of_a_new_one(enrolled):
    told = refusal(lambda: enrolled.registry.open_enrollment(enrolled.principal, by=enrolled.actor, label="new phone"))
    assert str(told) == "this principal has a device: deactivate it first"


def test_verifying_without_asking_whether_there_is_a_device(registry, alice):
    assert isinstance(refusal(lambda: registry.verify(alice, "123456")), NoDevice)


def test_signing_in_with_the_code_that_resynchronised(enrolled):
    pair = enrolled.phone.pair(4)
    enrolled.registry.resync(enrolled.principal, by=enrolled.actor, **pair)
    told = refusal(lambda: enrolled.registry.verify(enrolled.principal, pair["code2"]))
    assert isinstance(told, AlreadyUsed)
    assert told.next_at


# Stores


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mfa.db"


def test_a_store_that_was_closed_and_is_used_again_opens_itself(path, keys, clock, alice):
    with SQLiteStore(path) as store:
        registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
        device = enroll(registry, clock, alice)
    assert device.sign_in().step
    store.close()
    store.close()
    assert device.device
    store.close()


def test_a_fork_with_an_open_store_spends_a_code_once_for_both(path, keys, clock, alice):
    with SQLiteStore(path) as store:
        device = enroll(DeviceRegistry(store, keys=keys, issuer="Example", clock=clock), clock, alice)
        clock.advance(30)
        code = device.phone.code()
        assert in_child(lambda: device.registry.verify(alice, code)).serial == device.device.serial
        assert isinstance(refusal(lambda: device.registry.verify(alice, code)), AlreadyUsed)


def test_one_asynchronous_registry_in_two_event_loops(path, keys, clock, alice):
    with SQLiteStore(path) as store:
        device = enroll(DeviceRegistry(store, keys=keys, issuer="Example", clock=clock), clock, alice)
        shared: Any = AsyncRegistry(InThreads(store), keys=keys, issuer="Example", clock=clock)
        steps = []
        for _ in range(2):
            clock.advance(30)
            steps.append(asyncio.run(shared.verify(alice, device.phone.code())).step)
        assert steps == [device.device.last_step - 1, device.device.last_step]


def test_a_database_in_memory_that_would_forget_everybody():
    assert "MemoryStore" in str(refusal(lambda: SQLiteStore(":memory:")))


def test_a_mistyped_path_is_no_database_in_which_nobody_has_a_device(tmp_path, alice):
    with SQLiteStore(tmp_path / "mfa.bd", create=False) as store:
        assert isinstance(refusal(lambda: store.load(alice)), StoreError)


def test_another_master_key_after_a_deployment(path, keys, clock, alice):
    with SQLiteStore(path) as store:
        device = enroll(DeviceRegistry(store, keys=keys, issuer="Example", clock=clock), clock, alice)
        clock.advance(30)
        wrong = DeviceRegistry(store, keys=DerivedKeys(b"another key, of 32 bytes or more"), issuer="E", clock=clock)
        told = refusal(lambda: wrong.verify(alice, device.phone.code()))
        assert isinstance(told, vmfa.UnknownMasterKey)
        assert device.sign_in().failures_cleared == 0
