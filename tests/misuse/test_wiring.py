"""Registries put together in a hurry, and values of which somebody asks whether they are true."""

from __future__ import annotations

import time

import pytest

from support import MASTER, START, enroll
from vmfa import DerivedKeys, DeviceRegistry, InvalidType, MemoryStore
from vmfa.aio import DeviceRegistry as AsyncRegistry, InThreads

KEYS = DerivedKeys(MASTER)
WIRED = {
    "a path for a store": (lambda: DeviceRegistry("mfa.db", keys=KEYS, issuer="E"), "SQLiteStore(path)"),
    "the class of a store": (lambda: DeviceRegistry(MemoryStore, keys=KEYS, issuer="E"), "SQLiteStore(path)"),
    "the class of a key source": (
        lambda: DeviceRegistry(MemoryStore(), keys=DerivedKeys, issuer="E"), "DerivedKeys(master_key)"
    ),
    "a store that waits": (
        lambda: DeviceRegistry(InThreads(MemoryStore()), keys=KEYS, issuer="E"), "vmfa.aio.DeviceRegistry"
    ),
    "a store that blocks": (lambda: AsyncRegistry(MemoryStore(), keys=KEYS, issuer="E"), "vmfa.aio.InThreads(store)"),
    "a path for an asynchronous store": (lambda: AsyncRegistry("mfa.db", keys=KEYS, issuer="E"), "SQLiteStore(path)"),
    "a moment for a clock": (
        lambda: DeviceRegistry(MemoryStore(), keys=KEYS, issuer="E", clock=time.time()), "time.time without brackets"
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
