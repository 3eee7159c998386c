"""Registries put together in a hurry, and values of which somebody asks whether they are true."""

from __future__ import annotations

import time
from unittest.mock import MagicMock, Mock, create_autospec

import pytest

from leaks import assert_silent
from support import MASTER, START, enroll
from vmfa import Actor, DerivedKeys, DeviceRegistry, InvalidType, InvalidValue, MemoryStore, PrincipalId
from vmfa.aio import DeviceRegistry as AsyncRegistry, InThreads

KEYS = DerivedKeys(MASTER)


async def nobody_waits(event):
    """Its outcome would be lost behind a warning."""


WIRED = {
    "a path for a store": (lambda: DeviceRegistry("mfa.db", keys=KEYS, issuer="E"), "SQLiteStore(path)"),
    "the class of a store": (lambda: DeviceRegistry(MemoryStore, keys=KEYS, issuer="E"), "SQLiteStore(path)"),
    "the class of a key source": (
        lambda: DeviceRegistry(MemoryStore(), keys=DerivedKeys, issuer="E"), "DerivedKeys(master_key)"
    ),
    "a store that waits": (
        lambda: DeviceRegistry(InThreads(MemoryStore()), keys=KEYS, issuer="E"), "vmfa.aio.DeviceRegistry"
    ),
    "a store that blocks": (lambda: AsyncRegistry(MemoryStore(), keys=KEYS, issuer="E"), "aio.InThreads(store)"),
    "a path for an asynchronous store": (lambda: AsyncRegistry("mfa.db", keys=KEYS, issuer="E"), "SQLiteStore(path)"),
    "a moment for a clock": (
        lambda: DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E", clock=time.time()), "time.time without brackets"
    ),
    "an observer that waits": (
        lambda: DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E", observer=nobody_waits), "observer is a function"
    ),
    "a list for an observer": (
        lambda: DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E", observer=[]), "observer is a function"
    ),
}


@pytest.mark.parametrize("name", WIRED)
def test_is_refused_at_once(name):
    build, sentence = WIRED[name]
    with pytest.raises(InvalidType) as caught:
        build()
    assert sentence in str(caught.value)


@pytest.mark.parametrize("steps_off", [0, -5])
def test_a_report_is_not_asked_whether_it_is_true(registry, clock, alice, steps_off):
    """It would be true of a device that is assigned and out of sync."""
    device = enroll(registry, clock, alice)
    clock.advance(600)
    report = registry.resync(alice, by=device.actor, **device.phone.pair(steps_off))
    with pytest.raises(InvalidType, match="look at its sync"):
        bool(report)


def test_neither_an_operation_nor_a_decision_is_asked_whether_it_is_true(enrolled, store):
    """Both would be true of a wrong code."""
    operation = enrolled.registry.operations.verify(enrolled.principal, enrolled.phone.wrong_code())
    with pytest.raises(InvalidType, match="decide it, commit the decision, and settle that"):
        bool(operation)
    with pytest.raises(InvalidType, match="commit it, then settle it"):
        bool(operation.decide(store.load(enrolled.principal), START + 60))


def test_a_receipt_is_true_because_a_refusal_raises(enrolled):
    assert enrolled.sign_in()


@pytest.mark.parametrize("now", [2**63, -(2**63), 1e300])
@pytest.mark.parametrize("asked", ["verify", "resync", "confirm_enrollment"])
def test_a_clock_beyond_all_times_gives_no_code_away(now, asked):
    registry = DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E", clock=lambda: now)
    who = PrincipalId.user("a", "alice")
    pair = {"code1": "918273", "code2": "918274", "by": Actor.signed_in(who)}
    ask = {
        "verify": lambda: registry.verify(who, "918273"), "resync": lambda: registry.resync(who, **pair),
        "confirm_enrollment": lambda: registry.confirm_enrollment(who, session="s", **pair),
    }
    with pytest.raises(InvalidValue) as caught:
        ask[asked]()
    assert_silent(caught.value, "918273", "918274")


def test_doubles_of_a_store_are_stores():
    for double in (create_autospec(MemoryStore, instance=True), Mock(spec=MemoryStore), MagicMock()):
        assert DeviceRegistry(double, keys=KEYS, issuer="E").operations.issuer == "E"
