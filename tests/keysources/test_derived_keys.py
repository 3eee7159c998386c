"""DerivedKeys: the frozen derivation, and that a key belongs to one device of one principal."""

from __future__ import annotations

import pytest

from reference import vectors
from support import MASTER
from vmfa import (
    DerivedKeys,
    InvalidValue,
    Key,
    KeyRef,
    Kind,
    Parameters,
    PrincipalId,
    UnknownMasterKey,
)
from vmfa.keys import reveal
from vmfa.keysources.derived import key_binding

ALICE = PrincipalId.user("123456789012", "u-4711")
SERIAL = "00112233445566778899aabbccddeeff"
SIX = Parameters()
OTHER = bytes(32)


@pytest.mark.parametrize(
    "row", vectors("frozen_v1")["device_keys"], ids=lambda row: row["key"][:8]
)
def test_the_derivation_is_frozen(row):
    keys = DerivedKeys(bytes.fromhex(row["master"]))
    ref = KeyRef(scheme="derived", key_id=row["key_id"], material=bytes.fromhex(row["nonce"]))
    who = PrincipalId(account=row["account"], kind=Kind(row["kind"]), name=row["name"])
    parameters = Parameters(
        algorithm=row["algorithm"], digits=row["digits"], period=row["period"], t0=row["t0"]
    )
    assert key_binding(ref, who, row["serial"], parameters).hex() == row["binding"]
    assert reveal(keys.reveal(ref, who, row["serial"], parameters)).hex() == row["key"]


def test_an_issued_key_is_revealed_again():
    keys = DerivedKeys(MASTER)
    ref, key = keys.issue(ALICE, SERIAL, SIX)
    assert (ref.scheme, len(ref.material)) == ("derived", 16)
    assert keys.reveal(ref, ALICE, SERIAL, SIX) == key
    assert DerivedKeys(OTHER, MASTER).reveal(ref, ALICE, SERIAL, SIX) == key


def test_a_second_issue_is_another_key():
    keys = DerivedKeys(MASTER)
    (ref1, key1), (ref2, key2) = keys.issue(ALICE, SERIAL, SIX), keys.issue(ALICE, SERIAL, SIX)
    assert key1 != key2
    assert ref1.material != ref2.material


def test_a_key_depends_on_everything_it_is_bound_to():
    """SEED-BOUND: principal, serial, parameters and nonce."""
    keys = DerivedKeys(MASTER)
    ref, key = keys.issue(ALICE, SERIAL, SIX)
    assert all(
        keys.reveal(*moved) != key
        for moved in [
            (ref, PrincipalId.user("123456789012", "u-4712"), SERIAL, SIX),
            (ref, PrincipalId.user("123456789013", "u-4711"), SERIAL, SIX),
            (ref, PrincipalId.root("123456789012"), SERIAL, SIX),
            (ref, ALICE, "0" * 32, SIX),
            (ref, ALICE, SERIAL, Parameters(digits=8)),
            (ref, ALICE, SERIAL, Parameters(period=60)),
            (ref, ALICE, SERIAL, Parameters(t0=1)),
            (KeyRef(scheme="derived", key_id=ref.key_id, material=bytes(16)), ALICE, SERIAL, SIX),
        ]
    )


@pytest.mark.parametrize(("algorithm", "size"), [("sha1", 20), ("sha256", 32), ("sha512", 64)])
def test_a_key_is_as_long_as_the_hash(algorithm, size):
    """RFC6238-5.1-KEYLEN: 20, 32 or 64 bytes."""
    _, key = DerivedKeys(MASTER).issue(ALICE, SERIAL, Parameters(algorithm=algorithm))
    assert len(reveal(key)) == size


def test_another_master_key_is_reported_as_unknown():
    ref, _ = DerivedKeys(OTHER).issue(ALICE, SERIAL, SIX)
    with pytest.raises(UnknownMasterKey):
        DerivedKeys(MASTER).reveal(ref, ALICE, SERIAL, SIX)


def test_a_foreign_key_is_not_adopted():
    with pytest.raises(InvalidValue):
        DerivedKeys(MASTER).adopt(ALICE, SERIAL, SIX, Key.generate())
