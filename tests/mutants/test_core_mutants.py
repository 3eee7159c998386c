"""What only mutants of the other rooms of the pure library showed to be untested."""

from __future__ import annotations

import asyncio
import inspect
import logging
from functools import wraps
from string import hexdigits, printable

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

import vmfa
import vmfa.aio
from leaks import assert_silent
from support import MASTER, HandClock
from vmfa import (
    Actor,
    AuditEvent,
    Deactivation,
    DerivedKeys,
    DeviceRegistry,
    EventType,
    InvalidValue,
    Key,
    Kind,
    MemoryStore,
    OpenedEnrollment,
    Operation,
    Parameters,
    Policy,
    Principal,
    PrincipalId,
    RecordTampered,
    UnsafePlainKeys,
)
from vmfa.history import chained, check_chain, check_page, redacted
from vmfa.keys import HASHES, Opaque, hkdf_expand, hkdf_extract, mac, prepared_hmac
from vmfa.keyuri import MAX_URI_LENGTH, KeyUriError, build, parse
from vmfa.models import Envelope
from vmfa.operations import Operations
from vmfa.record import columns, from_columns
from vmfa.validators import Value, number

ALICE = PrincipalId.user("123456789012", "u-4711")
SERVICE = Actor.trusted_service("importer")
KEYS = DerivedKeys(MASTER)
RAW = b"twenty bytes of key!"
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


# keys


@pytest.mark.parametrize("key", [RAW, Key(RAW)])
def test_a_hash_that_the_build_refuses_is_named_and_its_key_is_not(monkeypatch, key):
    def refused(*_: object) -> None:
        raise ValueError(RAW)

    monkeypatch.setitem(HASHES, "sha1", (refused, 64, 20))
    sentence = "there is no sha1 in this build: vmfa.selftest() tells what there is"
    for act in (lambda: prepared_hmac(key, "sha1"), lambda: mac(key, "sha1", b""), lambda: vmfa.totp(key, 0)):
        with pytest.raises(InvalidValue) as caught:
            act()
        assert str(caught.value) == sentence
        assert caught.value.__context__ is None
    with pytest.raises(InvalidValue) as caught:
        vmfa.totp(key, 0)
    assert_silent(caught.value, RAW)
    with pytest.raises(InvalidValue, match="no md5 in"):
        prepared_hmac(key, "md5")


def test_what_is_opaque_has_no_dictionary_to_look_into():
    operation = Operations(KEYS, issuer="E").verify(ALICE, "123456")
    for value in (operation, KEYS, UnsafePlainKeys(), Key(RAW)):
        assert not hasattr(value, "__dict__")
    for kind in (Operation, DerivedKeys, UnsafePlainKeys, Key, OpenedEnrollment, Deactivation, Opaque):
        assert not inspect.isdatadescriptor(vars(kind).get("__dict__"))


# keysource


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 63, 64, 65, 96, 97, 255 * 32])
def test_hkdf_gives_what_was_asked_for(length):
    given = hkdf_expand(Key(RAW), b"info", length)
    assert given == (HKDFExpand(SHA256(), length, b"info").derive(RAW) if length else b"")


def test_a_salt_that_is_empty_is_a_block_of_zeros():
    assert hkdf_extract(b"", b"secret") == hkdf_extract(bytes(32), b"secret") != hkdf_extract(b"s", b"secret")


def test_each_purpose_has_its_key_and_it_is_derived_once():
    keys = DerivedKeys(MASTER)
    assert keys.subkey("record", keys.current_id) != keys.subkey("history", keys.current_id)
    assert keys.subkey("record", keys.current_id) is keys.subkey("record", keys.current_id)
    assert (keys.authenticate, UnsafePlainKeys().authenticate) == (True, True)


# values, model, record


def test_a_value_with_fields_gets_no_further_ones_from_whatever_else_it_is():
    class Loud:
        __slots__ = ()

    for bases in ((PrincipalId, Loud), (Loud, PrincipalId)):
        with pytest.raises(TypeError, match="gets no further ones"):
            type(Value)("Named", bases, {"__annotations__": {"more": "int"}, "more": number(0, 1)})


def test_a_value_is_frozen_for_dataclasses_too():
    class Fresh(Value):
        x: int = number(0, 9)

    class Other(Value):
        x: int = number(0, 9)

    assert Fresh.__dataclass_params__.frozen
    assert list(Other.__dataclass_fields__) == ["x"]


def test_the_name_of_root_is_empty_and_no_other():
    with pytest.raises(InvalidValue, match=r"^the name of root is empty$"):
        PrincipalId(account="a", kind=Kind.ROOT, name="x")
    with pytest.raises(InvalidValue, match=r"^name is empty$"):
        PrincipalId(account="a", kind=Kind.USER, name="")


def test_the_text_of_a_principal_says_nothing_of_its_seal():
    assert "envelope" not in repr(Principal(id=ALICE, envelope=Envelope(document="document", tag="tag")))


@pytest.mark.parametrize(("place", "other"), [(1, 6.0), (2, 30.0), (3, False), (3, 0.0), (3, -0.0)])
def test_parameters_that_were_read_before_vouch_for_no_others(place, other):
    """In Python 6 == 6.0 and 0 == False, and one that is remembered may stand for the other."""
    operations = Operations(KEYS, imported_keys=UnsafePlainKeys(), issuer="E")
    made = operations.adopt(ALICE, by=SERVICE, key=Key(RAW), source="s").decide(Principal(id=ALICE), 5)
    *_, revision, state, tag = columns(made.principal)
    assert from_columns(ALICE, revision, state, tag).device.parameters == Parameters()
    right = ["sha1", 6, 30, 0]
    right[place] = other
    written = f'["sha1",{right[1]},{right[2]},{str(right[3]).lower()}]'
    with pytest.raises(RecordTampered, match="cannot be read"):
        from_columns(ALICE, revision, state.replace('["sha1",6,30,0]', written), tag)


# operations, events


def test_who_acts_is_told_even_where_nobody_does(clock):
    told: list[AuditEvent] = []
    registry = DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E", clock=clock, observer=told.append)
    for act in (lambda: registry.device(ALICE, by=None), lambda: registry.verify(ALICE, "123456")):
        with pytest.raises(vmfa.VmfaError):
            act()
    assert [event.actor for event in told] == ["nobody", "claimant"]


def test_an_adoption_outlives_retention(clock: HandClock):
    registry = DeviceRegistry(MemoryStore(), keys=KEYS, imported_keys=UnsafePlainKeys(), issuer="E", clock=clock)
    registry.open_enrollment(ALICE, by=SERVICE, label="a")
    registry.adopt(ALICE, by=SERVICE, key=Key(RAW), source="old")
    assert registry.prune_history(ALICE, by=SERVICE, older_than=int(clock()) + 1) == 2
    happened = [event.type for event in registry.history(ALICE, by=SERVICE)]
    assert happened == [EventType.REDACTED, EventType.REDACTED, EventType.ADOPTED, EventType.PRUNED]


def event(at: int, what: EventType = EventType.ASSIGNED) -> AuditEvent:
    return AuditEvent(what=what, at=at, principal=ALICE, actor="a")


def page_of(events: list[AuditEvent], whole: tuple[AuditEvent, ...], blank: int) -> object:
    record = Principal(id=ALICE, events=len(whole), head=whole[-1].tag, pruned=3, redacted=blank)
    return check_page(events, 0, 9, record, KEYS)


def test_only_what_is_redacted_is_taken_unseen():
    whole = chained([event(at) for at in range(4)], 0, "", KEYS)
    blank = [redacted(whole[0]), whole[1], redacted(whole[2]), whole[3]]
    assert page_of(blank, whole, 2) == blank
    with pytest.raises(RecordTampered, match="changed at event 2"):
        page_of([blank[0], vmfa.validators.replace(whole[1], actor="b"), *blank[2:]], whole, 2)
    with pytest.raises(RecordTampered, match="changed at event 1"):
        check_chain([blank[0]], 0, "", KEYS)  # nobody said that any was pruned
    with pytest.raises(RecordTampered, match="changed at event 1"):  # blank ones have their places, too
        page_of([vmfa.validators.replace(blank[0], number=3), *blank[1:]], whole, 2)


def test_an_event_has_no_number_below_nothing():
    with pytest.raises(InvalidValue, match="number is 0 to"):
        AuditEvent(type=EventType.READ, at=0, principal=ALICE, actor="a", number=-1)


# registry, aio


def test_a_method_shows_the_defaults_and_the_types_of_its_operation():
    for kind in (vmfa.DeviceRegistry, vmfa.aio.DeviceRegistry):
        for name in ("verify", "cancel_enrollment", "adopt", "deactivate"):
            shown = inspect.signature(getattr(kind, name)).parameters
            built = inspect.signature(getattr(Operations, name)).parameters
            assert {n: (p.default, p.annotation) for n, p in shown.items()} == {
                n: (p.default, p.annotation) for n, p in built.items()
            }


def test_nobody_to_tell_is_no_observer_that_fails(clock, caplog):
    registry = DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E", clock=clock)
    with caplog.at_level(logging.DEBUG):
        registry.open_enrollment(ALICE, by=SERVICE, label="a")
    assert not caplog.records


class Decorated(vmfa.aio.InThreads):
    @wraps(vmfa.aio.InThreads.load)
    def load(self, principal):
        return super().load(principal)


class Failing(vmfa.aio.InThreads):
    async def load(self, principal):
        raise vmfa.StoreUnavailable("no")


def test_a_decorated_store_is_taken_at_its_word(clock):
    registry = vmfa.aio.DeviceRegistry(Decorated(MemoryStore()), keys=KEYS, issuer="E", clock=clock)
    assert asyncio.run(registry.requires_code(ALICE)) is False


def test_no_code_stays_in_the_frames_of_a_store_that_fails(clock):
    registry = vmfa.aio.DeviceRegistry(Failing(MemoryStore()), keys=KEYS, issuer="E", clock=clock)
    with pytest.raises(vmfa.StoreUnavailable) as caught:
        asyncio.run(registry.verify(ALICE, code="135791"))
    assert_silent(caught.value, "135791")


def test_retention_with_await(clock):
    registry = vmfa.aio.DeviceRegistry(vmfa.aio.InThreads(MemoryStore()), keys=KEYS, issuer="E", clock=clock)

    async def prune() -> int:
        await registry.open_enrollment(ALICE, by=SERVICE, label="a")
        return await registry.prune_history(ALICE, by=SERVICE, older_than=int(clock()) + 1)

    assert asyncio.run(prune()) == 1


# keyuri


def test_a_key_uri_has_at_most_so_many_characters():
    start = f"otpauth://totp/alice?secret={SECRET}&issuer="
    with pytest.raises(KeyUriError, match="issuer is longer than"):
        parse(start.ljust(MAX_URI_LENGTH, "x"))
    with pytest.raises(KeyUriError, match=f"^a key URI has at most {MAX_URI_LENGTH} characters$"):
        parse(start.ljust(MAX_URI_LENGTH + 1, "x"))


@pytest.mark.parametrize(("uri", "part"), [
    (f"otpauth://totp/a?secret={SECRET}&issuer=%zz", "issuer"),
    (f"otpauth://totp/a?secret={SECRET}&issuer=+%zz", "issuer"),
    ("otpauth://totp/a?secret=%zz", "secret"), ("otpauth://totp/a", "uri"), ("otpauth://totp/a?issuer=b", "secret"),
    (f"otpauth://totp/a?secret={SECRET}&algorithm=%f", "algorithm"),
    (f"otpauth://totp/a?secret={SECRET}&digits=%", "digits"),
    (f"otpauth://totp/a?secret={SECRET}&period=1&period=1", "period"),
    (f"otpauth://totp/a?secret={SECRET}&algorithm=SHA1&algorithm=SHA1", "algorithm"),
    (f"otpauth://hotp/a?secret={SECRET}&counter=1&counter=1", "counter"),
    (f"otpauth://totp/a?secret={SECRET}&colour=1&colour=1", "uri"), (f"otpauth://hotp/a?secret={SECRET}", "counter"),
])
def test_a_refusal_names_the_part_that_is_at_fault(uri, part):
    with pytest.raises(KeyUriError) as caught:
        parse(uri)
    assert caught.value.part == part


def test_a_counter_may_be_nothing_yet():
    assert parse(f"otpauth://hotp/a?secret={SECRET}&counter=0").counter == 0


@pytest.mark.parametrize("digit", "0123456789abcdefABCDEF")
def test_every_hexadecimal_digit_is_one(digit):
    assert parse(f"otpauth://totp/a%4{digit}?secret={SECRET}").label == "a" + chr(0x40 + int(digit, 16)).strip()


@pytest.mark.parametrize("escape", ["%", "%4", *[f"%{pair}" for no in printable if no not in hexdigits + "%?#&=/"
                                                 for pair in (f"4{no}", f"{no}4")]])
def test_nothing_else_is_an_escape(escape):
    with pytest.raises(KeyUriError, match="percent sign") as caught:
        parse(f"otpauth://totp/a{escape}?secret={SECRET}")
    assert caught.value.part == "label"


def test_what_separates_is_escaped():
    uri = build(issuer="A/B&C", label="a@b/c:d".replace(":", ""), key=Key(RAW), parameters=Parameters())
    assert uri.startswith("otpauth://totp/A%2FB%26C:a@b%2Fcd?secret=")
    assert uri.endswith("&issuer=A%2FB%26C")


# policy


def test_the_bounds_of_the_warning_and_of_the_delay():
    assert Policy(budget=10_000, budget_warning=9_999).budget_warning == 9_999
    with pytest.raises(InvalidValue, match=r"^budget_warning is 0 to 10000$"):
        Policy(budget=10_000, budget_warning=10_001)
    patient = Policy(delay_from=1, delay_seconds=1, delay_cap=86400)
    assert [patient.delay(failures) for failures in (0, 1, 2, 17, 18, 10_000)] == [0, 1, 2, 65536, 86400, 86400]


def test_a_guess_probability_is_of_a_year_and_one_sign_in_a_day():
    free = Policy(budget=10_000, budget_refill=60, budget_warning=1)
    assert free.guess_probability() == free.guess_probability(days=365, sign_ins_per_day=1)
    assert free.guess_probability(days=364) < free.guess_probability() < free.guess_probability(days=366)
    assert len({free.guess_probability(sign_ins_per_day=n) for n in (0, 1, 2)}) == 3
