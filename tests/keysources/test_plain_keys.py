"""UnsafePlainKeys stores keys as they are, for tests."""

from __future__ import annotations

from vmfa import DerivedKeys, Key, KeyRef, Parameters, PrincipalId, UnsafePlainKeys, UnsafeShortKey
from vmfa.keys import reveal

ALICE = PrincipalId.user("123456789012", "u-4711")
SERIAL = "00112233445566778899aabbccddeeff"
SIX = Parameters()


def test_a_key_is_stored_as_it_is():
    keys = UnsafePlainKeys()
    ref, key = keys.issue(ALICE, SERIAL, Parameters(algorithm="sha256"))
    assert ref == KeyRef(scheme="plain", key_id="", material=reveal(key))
    assert len(reveal(key)) == 32
    assert keys.reveal(ref, ALICE, SERIAL, SIX) == key


def test_short_keys_are_stored_too():
    keys = UnsafePlainKeys()
    for short in (UnsafeShortKey(b"1"), UnsafeShortKey(bytes(15)), Key(bytes(16))):
        revealed = keys.reveal(keys.adopt(ALICE, SERIAL, SIX, short), ALICE, SERIAL, SIX)
        assert type(revealed) is type(short)
        assert revealed == short


def test_records_are_authenticated_by_a_published_key():
    assert UnsafePlainKeys().check("p", b"m", UnsafePlainKeys().tag("p", b"m"))
    assert (
        UnsafePlainKeys().current_id
        == DerivedKeys(b"vmfa: unsafe, published, for tests").current_id
    )
