"""Mutants of ``rules``: every event names its device and says all that it says, and every refusal its sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

import pytest

from support import Enrolled, HandClock, Phone, enroll
from vmfa import (
    Actor,
    AuditEvent,
    CodeRejected,
    DerivedKeys,
    DeviceDisabled,
    DeviceRegistry,
    Key,
    MemoryStore,
    Operations,
    OutOfSync,
    PairRejected,
    Parameters,
    Policy,
    Principal,
    PrincipalId,
    RecordTampered,
    UnsafePlainKeys,
    VmfaError,
    rules,
)

SERVICE = Actor.trusted_service("importer")


@pytest.fixture
def told() -> list[AuditEvent]:
    return []


@pytest.fixture
def registry(store: MemoryStore, keys: DerivedKeys, clock: HandClock, told: list[AuditEvent]) -> DeviceRegistry:
    imported = UnsafePlainKeys()
    return DeviceRegistry(store, keys=keys, imported_keys=imported, issuer="E", clock=clock, observer=told.append)


def last(told: list[AuditEvent], count: int = 1) -> list[tuple[str, str, str, dict[str, int | str]]]:
    return [(each.type.value, each.serial, each.reason, dict(each.details)) for each in told[-count:]]


def refusal(call: Callable[[], object]) -> VmfaError:
    with pytest.raises(VmfaError) as caught:
        call()
    return caught.value


def test_drift_that_moves(enrolled: Enrolled, told):
    serial = enrolled.device.serial
    for _ in range(2):
        enrolled.clock.advance(60)
        enrolled.registry.verify(enrolled.principal, enrolled.phone.code(1))
    step = enrolled.clock() // 30 + 1
    assert last(told, 2) == [
        ("code accepted", serial, "", {"step": step}), ("drift changed", serial, "", {"before": 0, "after": 1}),
    ]


def test_a_resynchronisation(enrolled: Enrolled, told):
    enrolled.registry.resync(enrolled.principal, by=enrolled.actor, **enrolled.phone.pair(7))
    assert last(told) == [("device resynchronized", enrolled.device.serial, "", {"steps_off": 7})]
    assert (enrolled.device.drift, enrolled.device.synced_drift, enrolled.device.last_offset) == (7, 7, 0)


def test_a_pair_that_does_not_resynchronise(enrolled: Enrolled, told):
    serial, wrong = enrolled.device.serial, enrolled.phone.wrong_code()
    error = refusal(lambda: enrolled.registry.resync(enrolled.principal, by=enrolled.actor, code1=wrong, code2=wrong))
    assert (type(error), str(error)) == (PairRejected, "these are not two fresh consecutive codes")
    assert last(told) == [("code rejected", serial, PairRejected.reason, {"failures": 1})]


def test_a_wrong_code_to_the_last_one(store, keys, clock, alice, told):
    policy = Policy(budget=3, budget_warning=1, failure_cap=3, delay_from=100)
    registry = DeviceRegistry(store, keys=keys, issuer="E", clock=clock, policy=policy, observer=told.append)
    device = enroll(registry, clock, alice)
    serial, wrong = device.device.serial, device.phone.wrong_code()
    clock.advance(30)
    errors = []
    for _ in range(3):
        errors.append(refusal(lambda: registry.verify(alice, wrong)))
        told.append(told[-1])
    assert [type(error) for error in errors] == [CodeRejected, CodeRejected, DeviceDisabled]
    assert str(errors[2]) == "the device was disabled after too many failures"
    rejected = [("code rejected", serial, "not accepted", {"failures": n}) for n in (1, 2, 3)]
    events = [event for n, event in enumerate(told) if event is not told[n - 1]]
    assert last(events, 5) == [
        rejected[0], rejected[1], ("guess budget low", serial, "", {"budget": 1}), rejected[2],
        ("device disabled", serial, "", {"failures": 3, "budget": 0}),
    ]
    error = refusal(lambda: registry.verify(alice, device.phone.code()))
    assert str(error) == "the device is disabled: deactivate it and enroll anew"


def test_out_of_sync(registry, clock, alice, told):
    device = enroll(registry, clock, alice, -5)
    serial = device.device.serial
    assert ("device assigned", serial, "", {"sync": "out of sync", "steps_off": -5}) in last(told, len(told))
    error = refusal(lambda: registry.verify(alice, device.phone.code(3)))
    sentence = "the device is out of sync: its codes are not evaluated until it is resynchronized"
    assert (type(error), str(error)) == (OutOfSync, sentence)
    assert last(told) == [("refused", serial, OutOfSync.reason, {"action": "verify"})]


def test_the_wizard(registry, clock, alice, owner, told):
    error = refusal(lambda: registry.open_enrollment(alice, by=owner, label=""))
    assert str(error) == "label is empty"
    first = registry.open_enrollment(alice, by=owner, label="alice")
    assert last(told) == [("enrollment opened", first.serial, "", {})]
    opened = registry.open_enrollment(alice, by=owner, label="alice")
    assert last(told, 2) == [
        ("enrollment superseded", first.serial, "", {}), ("enrollment opened", opened.serial, "", {}),
    ]
    wrong = Phone(Key.from_base32(opened.base32), clock).wrong_code()

    def attempt() -> VmfaError:
        return refusal(lambda: registry.confirm_enrollment(
            alice, session=opened.session_id, by=owner, code1=wrong, code2=wrong))

    for attempts in range(1, 10):
        error = attempt()
        assert (str(error), error.remedy) == ("these are not two consecutive codes near now", "retry")
        assert last(told) == [("code rejected", opened.serial, PairRejected.reason, {"attempts": attempts})]
    error = attempt()
    assert (str(error), error.remedy) == ("the enrollment session ended after too many attempts", "enroll")
    assert last(told, 2) == [
        ("code rejected", opened.serial, PairRejected.reason, {"attempts": 10}),
        ("enrollment abandoned", opened.serial, "", {}),
    ]
    error = attempt()
    assert str(error) == "no such enrollment session is open"


def test_a_wizard_cancelled_or_left(registry, clock, alice, owner, told):
    opened = registry.open_enrollment(alice, by=owner, label="alice")
    registry.cancel_enrollment(alice, by=owner)
    assert last(told) == [("enrollment cancelled", opened.serial, "", {})]
    left = registry.open_enrollment(alice, by=owner, label="alice")
    clock.advance(900)
    refusal(lambda: registry.cancel_enrollment(alice, by=owner, session=left.session_id))
    registry.open_enrollment(alice, by=owner, label="alice")
    assert ("enrollment expired", left.serial, "", {}) in last(told, 4)


def test_removal_import_repair_and_reads(registry, clock, alice, told):
    key = Key.generate()
    error = refusal(lambda: registry.adopt(
        alice, by=SERVICE, key=key, source="old", parameters=Parameters(digits=8)))
    assert str(error) == "the policy does not offer this device's algorithm, digits, period and T0"
    assert str(refusal(lambda: registry.adopt(alice, by=SERVICE, key=key, source="", last_step=5))) == "source is empty"
    assert str(refusal(lambda: registry.adopt(alice, by=SERVICE, key=bytes(20), source="old"))) == "key is a Key"
    device = registry.adopt(alice, by=SERVICE, key=key, source="old", last_step=5)
    assert last(told) == [("device adopted", device.serial, "", {"source": "old", "last_step": 5})]
    error = refusal(lambda: registry.adopt(alice, by=SERVICE, key=key, source="old"))
    assert str(error) == "this principal has a device: an import never overwrites one"
    registry.device(alice, by=SERVICE)
    assert last(told) == [("read", device.serial, "device", {})]
    registry.history(alice, by=SERVICE)
    assert last(told) == [("read", "", "history", {})]
    seen = clock()
    clock.advance(-500)
    registry.reanchor(alice, by=SERVICE)
    assert last(told) == [("clock re-anchored", "", "", {"seen_at": seen})]
    registry.deactivate(alice, by=SERVICE, reason="new phone")
    assert last(told) == [("device deactivated", device.serial, "new phone", {})]
    assert registry.prune_history(alice, by=SERVICE, older_than=int(clock()) + 1) == 1
    assert last(told) == [("history pruned", "", "", {"events": 1, "older_than": clock() + 1})]
    registry.forget(alice, by=SERVICE)
    assert last(told) == [("principal forgotten", "", "", {})]
    assert str(refusal(lambda: registry.reanchor(alice, by=SERVICE))) == "this principal is unknown"
    assert str(refusal(lambda: registry.device(alice, by=SERVICE))) == "this principal has no assigned device"


def test_the_environment(enrolled: Enrolled):
    enrolled.clock.advance(-31)
    error = refusal(lambda: enrolled.registry.verify(enrolled.principal, "123456"))
    assert str(error) == "the clock is behind a time that was committed; nothing was counted"


def test_another_principals_record(enrolled: Enrolled, store):
    bob = PrincipalId.user("123456789012", "u-0815")
    operation = enrolled.registry.operations.verify(bob, "123456")
    answer = operation.decide(store.load(enrolled.principal), enrolled.clock()).answer
    assert str(answer) == "this record is another principal's"


def test_an_edited_record_is_named_before_its_clock_is_believed(keys, clock, alice, owner):
    """RULE-ORDER: an enrollment that has expired is looked at too, before anything it says counts."""
    operations = Operations(keys, issuer="E")
    opened = operations.open_enrollment(alice, by=owner, label="alice").decide(Principal(id=alice), clock())
    record = opened.principal
    assert record.envelope is not None
    later = record.seen_at + 10**6
    seal = replace(record.envelope, document=record.envelope.document.replace(str(record.seen_at), str(later), 1))
    edited = replace(record, seen_at=later, envelope=seal)
    answer = operations.verify(alice, "123456").decide(edited, clock() + 1000).answer
    assert isinstance(answer, RecordTampered)


def test_a_binding_code_that_was_used_leaves_no_digest(store, keys, clock, alice, owner):
    registry = DeviceRegistry(store, keys=keys, issuer="E", clock=clock, policy=Policy.strict())
    enroll(registry, clock, alice)
    code = registry.deactivate(alice, by=SERVICE).binding_code
    error = refusal(lambda: registry.open_enrollment(alice, by=owner, label="a"))
    assert str(error) == "this needs the binding code that was given when the old device was removed"
    assert store.load(alice).binding.digest
    registry.open_enrollment(alice, by=owner, label="a", binding_code=code)
    assert store.load(alice).binding.digest == ""


def test_an_import_whose_last_failure_lies_ahead_waits_from_now(registry, clock, alice):
    now = int(clock())
    for failed_at, expected in ((None, now), (now - 7, now - 7), (now + 500, now)):
        device = registry.adopt(
            alice, by=SERVICE, key=Key.generate(), source="old", last_step=5, failures=4, failed_at=failed_at
        )
        assert (device.failed_at, device.failures) == (expected, 4)
        registry.deactivate(alice, by=SERVICE)


def test_an_import_with_a_position_that_cannot_be(registry, clock, alice):
    end = int(clock()) // 30 + 1 + 20
    for last_step in (-2, end + 1):
        error = refusal(lambda last_step=last_step: registry.adopt(
            alice, by=SERVICE, key=Key.generate(), source="old", last_step=last_step))
        assert str(error) == f"last_step is -1 to {end}"
    for last_step in (-1, end):
        assert registry.adopt(
            alice, by=SERVICE, key=Key.generate(), source="old", last_step=last_step).last_step == last_step
        registry.deactivate(alice, by=SERVICE)


@pytest.mark.parametrize(("fields", "sentence"), [
    ({"drift": 21}, "drift is -20 to 20"), ({"drift": -21}, "drift is -20 to 20"),
    ({"failures": -1}, "failures is 0 to 100"), ({"failures": 101}, "failures is 0 to 100"),
])
def test_an_import_with_counters_that_cannot_be(registry, alice, fields, sentence):
    error = refusal(lambda: registry.adopt(alice, by=SERVICE, key=Key.generate(), source="old", **fields))
    assert str(error) == sentence


def test_a_reason_that_is_none(enrolled: Enrolled):
    error = refusal(lambda: enrolled.registry.deactivate(enrolled.principal, by=SERVICE, reason=" lost "))
    assert str(error) == "reason has blanks at its edges"


ON_A_DEVICE = {
    "open": lambda do, who: do.open_enrollment(who, by=SERVICE, label="a"),
    "confirm": lambda do, who: do.confirm_enrollment(who, session="s", code1="123456", code2="123457", by=SERVICE),
    "cancel": lambda do, who: do.cancel_enrollment(who, by=SERVICE),
    "verify": lambda do, who: do.verify(who, "123456"),
    "resync": lambda do, who: do.resync(who, code1="123456", code2="123457", by=SERVICE),
    "deactivate": lambda do, who: do.deactivate(who, by=SERVICE),
    "adopt": lambda do, who: do.adopt(who, by=SERVICE, key=Key.generate(), source="old"),
    "re-anchor": lambda do, who: do.reanchor(who, by=SERVICE),
    "prune": lambda do, who: do.prune_history(who, by=SERVICE, history=(), older_than=1),
    "read device": lambda do, who: do.device(who, by=SERVICE),
    "read history": lambda do, who: do.record(who, by=SERVICE),
}


@pytest.mark.parametrize("name", ON_A_DEVICE)
def test_no_operation_seals_anew_what_somebody_edited(keys, clock, alice, name):
    operations = Operations(keys, imported_keys=UnsafePlainKeys(), issuer="E")
    adopting = operations.adopt(alice, by=SERVICE, key=Key.generate(), source="old", failures=7)
    record = adopting.decide(Principal(id=alice), clock()).principal
    assert record.envelope is not None
    assert record.device is not None
    document = record.envelope.document.replace(",7,", ",0,")
    assert document != record.envelope.document
    edited = replace(record, device=replace(record.device, failures=0), envelope=replace(record.envelope, document=document))
    made = ON_A_DEVICE[name](operations, alice).decide(edited, clock() + 30)
    assert isinstance(made.answer, RecordTampered)
    assert made.principal is edited


def test_a_retention_without_a_moment(registry, alice):
    enrolled = registry.adopt(alice, by=SERVICE, key=Key.generate(), source="old")
    assert enrolled
    assert str(refusal(lambda: registry.prune_history(alice, by=SERVICE, older_than="now"))) == "older_than is an int"


def test_a_retention_of_another_history(keys, clock, alice):
    operations = Operations(keys, imported_keys=UnsafePlainKeys(), issuer="E")
    adopting = operations.adopt(alice, by=SERVICE, key=Key.generate(), source="old")
    record = adopting.decide(Principal(id=alice), clock()).principal
    made = operations.prune_history(alice, by=SERVICE, history=(), older_than=1).decide(record, clock())
    assert str(made.answer) == "this history changed while it was read"


def test_retention_keeps_the_event_of_that_very_second(enrolled: Enrolled):
    assert enrolled.registry.prune_history(enrolled.principal, by=SERVICE, older_than=int(enrolled.clock())) == 0
    assert enrolled.registry.prune_history(enrolled.principal, by=SERVICE, older_than=int(enrolled.clock()) + 1) == 1


def test_a_wizard_ends_with_the_shape_it_began_with(store, keys, clock, alice, owner):
    """The policy may offer another one meanwhile."""
    eight = Parameters(digits=8)
    before = DeviceRegistry(store, keys=keys, issuer="E", clock=clock, policy=Policy(offers=(eight,)))
    opened = before.open_enrollment(alice, by=owner, label="a")
    phone = Phone(Key.from_base32(opened.base32), clock, eight)
    after = DeviceRegistry(store, keys=keys, issuer="E", clock=clock)
    report = after.confirm_enrollment(alice, session=opened.session_id, by=owner, **phone.pair())
    assert report.device.parameters == eight


def test_the_digest_of_a_binding_code_is_frozen(store, keys, clock, alice):
    registry = DeviceRegistry(store, keys=keys, issuer="E", clock=clock, policy=Policy.strict())
    enroll(registry, clock, alice)
    code = registry.deactivate(alice, by=SERVICE).binding_code
    assert store.load(alice).binding.digest == sha256(b"vmfa binding code v1" + code.encode()).hexdigest()


@pytest.mark.parametrize(("ahead", "spent"), [(1, 1), (2, 0), (9, 0)])
def test_a_pair_spends_what_a_log_in_could_reach_and_no_later_step_that_shares_a_code(
    enrolled: Enrolled, monkeypatch, ahead, spent
):
    enrolled.clock.advance(300)
    here = int(enrolled.clock()) // 30
    monkeypatch.setattr(rules, "_scan", lambda *given: [[here - 1], [here, here + ahead]])
    enrolled.registry.resync(enrolled.principal, by=enrolled.actor, **enrolled.phone.pair())
    assert enrolled.device.last_step == here + spent
