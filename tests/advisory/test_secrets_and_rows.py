"""Keys in logs and pickles, edited rows, and mixed-up keys, elsewhere."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support import Enrolled, authenticated
from vmfa import (
    Actor,
    CodeRejected,
    DerivedKeys,
    DeviceRegistry,
    InvalidType,
    MalformedCode,
    Parameters,
    PrincipalId,
    RecordTampered,
    SQLiteStore,
    UnknownMasterKey,
    totp,
)
from vmfa.keys import base32, reveal
from vmfa.models import KeyRef


def run(path: Path, script: str) -> None:
    """Do what an attacker who can write the database does."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)


def stored(path: Path) -> str:
    """Return all rows of the database as text."""
    with closing(sqlite3.connect(path)) as db:
        return "\n".join(db.iterdump())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mfa.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with SQLiteStore(path) as store:
        yield store


def test_misp_10116_printable_values_hold_no_key(
    enrolled: Enrolled, store: SQLiteStore, keys: DerivedKeys, caplog: pytest.LogCaptureFixture
) -> None:
    """MISP and emqx logged seeds, pyotp's objects pickle them, and totp-rs and pquerna/otp print
    them in debug output.

    Invariant: values that can be printed hold no key; a value with a key cannot be printed,
    pickled or copied.
    """
    key = enrolled.phone.key
    secrets = [
        text
        for form in (
            reveal(key).hex(),
            base32(key),
            b64encode(reveal(key)).decode(),
            repr(reveal(key))[2:-1],
        )
        for text in (form, form.lower())
    ]
    record = store.load(enrolled.principal)
    receipt = enrolled.sign_in()
    operations = enrolled.registry.operations
    verification = operations.verify(enrolled.principal, enrolled.phone.code())
    values = [
        key,
        keys,
        record,
        enrolled.device,
        receipt,
        receipt.claim,
        enrolled.registry,
        operations,
        operations.policy,
        verification,
        enrolled.actor,
        *store.history(enrolled.principal),
    ]
    with caplog.at_level(logging.DEBUG):
        for value in values:
            logging.getLogger("app").debug("%s %r %s", value, value, f"{value}")
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                logging.getLogger("app").debug("%s", dataclasses.asdict(value))
    assert not [secret for secret in secrets if secret in caplog.text]
    for holder in (key, keys, verification):
        for use in (pickle.dumps, copy.copy, copy.deepcopy, lambda value: pickle.dumps(value, 0)):
            with pytest.raises(InvalidType, match="cannot be pickled or copied"):
                use(holder)


def test_misp_10116_the_opened_enrollment_prints_no_key(
    registry: DeviceRegistry, alice: PrincipalId, owner: Actor
) -> None:
    """One value has to hold the key, and it is the one that gets logged.

    Invariant: its text is constant, and it cannot be pickled or copied.
    """
    opened = registry.open_enrollment(alice, by=owner, label="alice")
    assert f"{opened} {opened!r} {opened!s}" == " ".join(["<OpenedEnrollment>"] * 3)
    with pytest.raises(InvalidType):
        pickle.dumps(opened)
    with pytest.raises(TypeError):
        json.dumps(opened)


def test_a_row_written_back_after_deactivation_lacks_the_destroyed_nonce(
    enrolled: Enrolled, store: SQLiteStore, keys: DerivedKeys, path: Path
) -> None:
    """A reviewed design: the key was derived from the serial, which the history keeps, so a
    rebuilt row revived a stolen phone.

    Invariant: a random nonce is in the reference only and is destroyed with it; the record is
    authenticated too.
    """
    registry, who = enrolled.registry, enrolled.principal
    serial, parameters = enrolled.device.serial, enrolled.device.parameters
    reference = store.load(who).key_ref
    assert reference is not None
    registry.deactivate(who, by=enrolled.actor_with_mfa())
    record, history = store.load(who), store.history(who)
    assert record.key_ref is None
    assert serial in str(history)
    for text in (str(history), *(event.document() for event in history), stored(path)):
        assert reference.material.hex() not in text
        assert b64encode(reference.material).decode() not in text
    rebuilt = keys.reveal(
        KeyRef(scheme="derived", key_id=keys.current_id, material=bytes(16)),
        who,
        serial,
        parameters,
    )
    assert reveal(rebuilt) != reveal(enrolled.phone.key)
    original = keys.reveal(reference, who, serial, parameters)  # the nonce makes the difference
    assert reveal(original) == reveal(enrolled.phone.key)


def test_a_row_written_back_under_another_principal_is_refused(
    enrolled: Enrolled, path: Path, registry: DeviceRegistry
) -> None:
    """A whole old row can be written back where it was (documented), but under no other principal.

    Invariant: the record is bound to its principal.
    """
    bob = PrincipalId.user(enrolled.principal.account, "u-0815")
    run(
        path,
        """
        CREATE TEMP TABLE copied AS SELECT * FROM principal;
        UPDATE copied SET name = 'u-0815';
        INSERT INTO principal SELECT * FROM copied;
        """,
    )
    with pytest.raises(RecordTampered):
        registry.verify(bob, enrolled.phone.code(1))


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": Parameters(period=2**31)},  # one code for 68 years
        {"parameters": Parameters(t0=-(6 * 365 * 86400))},  # a code of six years ago
        {"parameters": Parameters(digits=7)},
        {"last_step": -1},
        {"failures": 0},
        {"budget": 100},
        {"drift": 500},
        {"seen_at": 0},
    ],
    ids=str,
)
def test_parameters_and_counters_edited_in_the_database_are_refused(
    enrolled: Enrolled, store: SQLiteStore, path: Path, change: dict[str, Any]
) -> None:
    """A reviewed design: T0, period and counters were plain columns, so an old code verified, or
    one code was valid for decades.

    Invariant: parameters are bound into the key, and the whole record is authenticated.
    """
    registry, alice, clock = enrolled.registry, enrolled.principal, enrolled.clock
    with pytest.raises(CodeRejected):
        registry.verify(alice, enrolled.phone.wrong_code())  # there is a failure to reset
    record = store.load(alice)
    assert record.device is not None
    if "seen_at" in change:
        edited = replace(record, **change)
    else:
        edited = replace(record, device=replace(record.device, **change))
    forged = authenticated(edited, DerivedKeys(b"the attacker's own key, 32 bytes")).envelope
    assert forged is not None
    run(path, f"UPDATE principal SET state = '{forged.document}'")
    before = stored(path)
    clock.advance(30)
    for code in (enrolled.phone.code(), totp(enrolled.phone.key, clock(), digits=7)):
        with pytest.raises((RecordTampered, MalformedCode)):  # six digits and seven
            registry.verify(alice, code)
    with pytest.raises(RecordTampered):
        registry.requires_code(alice)
    assert stored(path) == before


def test_wrong_master_key_deployed_raises_before_a_failure_is_counted(
    enrolled: Enrolled, store: SQLiteStore
) -> None:
    """A reviewed design: after a deployment with the wrong key every honest code was a failure,
    and all devices were disabled.

    Invariant: key ids are fingerprints of the key; a named error comes before the throttle.
    """
    wrong = DeviceRegistry(
        store, keys=DerivedKeys(bytes(32)), issuer="Example", clock=enrolled.clock
    )
    before = store.load(enrolled.principal)
    enrolled.clock.advance(30)
    for _ in range(5):
        with pytest.raises(UnknownMasterKey):
            wrong.verify(enrolled.principal, enrolled.phone.code())
    assert store.load(enrolled.principal) == before
    assert (
        enrolled.registry.verify(enrolled.principal, enrolled.phone.code()).failures_cleared == 0
    )
