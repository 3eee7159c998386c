"""The file of OATH Toolkit's PAM module, as liboath 2.6.7 wrote it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from batches import reasons, statuses, user
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey, hotp
from vmfa.importers.base import ImportedDevice, Rejected
from vmfa.importers.oath_toolkit import NO_POSITION, read
from vmfa.importers.reading import HOTP

FILE = Path(__file__).parent / "exports" / "users.oath"
WRITTEN_AT = 1795567908  # 2026-11-25T00:51:48Z
KEY = b"12345678901234567890"
HEX = KEY.hex()
OFFERS = Parameters(digits=8, period=60)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def items() -> dict[str, ImportedDevice | Rejected]:
    with FILE.open() as file:
        return {item.owner: item for item in read(file)}


def test_every_field(items):
    alice, bob, erin = items["alice"], items["bob"], items["erin"]
    assert (alice.where, alice.key, alice.parameters) == ("line 2", Key(KEY), Parameters())
    assert (alice.last_step, alice.drift, alice.notes) == (WRITTEN_AT // 30, 0, ())
    assert bob.parameters == OFFERS
    assert (bob.last_step, bob.drift) == (WRITTEN_AT // 60 + 2, 2)
    assert bob.notes == ("the PIN is not imported",)
    assert (erin.last_step, erin.drift, erin.notes) == (None, 0, ())
    assert alice.system == "oath-toolkit: alice"


def test_event_based_devices_are_rejected(items):
    assert reasons(items.values()) == {"carol": HOTP, "dave": HOTP}


def test_a_used_code_is_refused_and_the_next_one_verifies(items, run_import, registry, clock):
    clock.advance(WRITTEN_AT - clock())
    assert statuses(run_import([items["alice"]])) == ["adopted"]
    phone = phone_with(Key(KEY), clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("alice"), phone.code())
    clock.advance(30)
    assert registry.verify(user("alice"), phone.code())


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "<+0545>-5:45"])
def test_the_time_is_local(monkeypatch, zone):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    for moment in (WRITTEN_AT, 1792889999, 1792893599):  # the last two: a clock is put back
        written = time.strftime("%Y-%m-%dT%H:%M:%SL", time.localtime(moment))
        code = hotp(KEY, moment // 30 - 3)
        (item,) = read(f"HOTP/T30 a - {HEX} 3 {code} {written}")
        assert (item.last_step, item.drift) == (moment // 30 - 3, -3)


def test_a_code_that_was_checked_in_the_step_before_its_time(utc):
    (item,) = read(f"HOTP/T30 a - {HEX} 0 {hotp(KEY, 999)} 1970-01-01T08:20:00L")
    assert (item.last_step, item.drift) == (999, 0)


def test_a_time_that_does_not_fit_spends_every_code():
    (item,) = read(f"HOTP/T30 a - {HEX} 0 {hotp(KEY, 1)} 2026-11-25T00:51:48L")
    assert (item.last_step, item.drift, item.notes) == (None, 0, (NO_POSITION,))


@pytest.mark.parametrize(("line", "reason"), [
    (f"HOTP/T30 a {HEX}", "4 or 7 fields"),
    (f"HOTP/T30 a - {HEX} 0", "4 or 7 fields"),
    (f"HOTP/T30 a - {HEX} 0 1 2 3", "4 or 7 fields"),
    ("x", "4 or 7 fields"),
    (f"TOTP a - {HEX}", "the type must be"),
    (f"HOTP/T0 a - {HEX}", "the type must be"),
    (f"HOTP/T30/5 a - {HEX}", "digits"),
    ("HOTP/T30 a - x", "the key must be hexadecimal"),
    ("HOTP/T30 a - 00", "a key must have 16 to 1024 bytes"),
    (f"HOTP/T30 a - {HEX} x 1 2026-11-25T00:51:48L", "the distance must be a whole number"),
    (f"HOTP/T30 a - {HEX} 0 1 2026-11-25T00:51:48", "the time must be local"),
    (f"HOTP/T30 a - {HEX} 0 1 0001-01-01T00:00:00L", "the time must be local"),
])
def test_a_line_is_rejected_with_its_reason(line, reason):
    (item,) = read(line)
    assert isinstance(item, Rejected)
    assert reason in item.reason
    assert HEX not in item.reason


def test_short_keys_only_if_allowed():
    (item,) = read("HOTP/T30 a - 00", unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)


@given(st.text(st.sampled_from("HOTP/T30 \ta-0189EL:.\n")) | st.text())
def test_any_text_gives_devices_or_reasons(text):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(text))
