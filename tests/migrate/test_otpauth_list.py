"""Lists of key URIs."""

from __future__ import annotations

import pyotp
import pytest
from hypothesis import given, strategies as st

from batches import user
from support import Phone
from vmfa import Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, Status
from vmfa.importers.otpauth import read

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


def test_a_list_that_pyotp_wrote(importing, registry, clock):
    totps = {name: pyotp.TOTP(pyotp.random_base32()) for name in ("alice@example.com", "bob smith")}
    text = "\n".join(totp.provisioning_uri(name=name, issuer_name="Big Corp") for name, totp in totps.items())
    told = importing(read(text))
    assert [(outcome.fate, outcome.principal) for outcome in told] == [
        (Status.ADOPTED, user("alice@example.com")), (Status.ADOPTED, user("bob smith")),
    ]
    clock.advance(60)
    for name, totp in totps.items():
        assert registry.verify(user(name), totp.at(clock()))


def test_lines():
    items = read(f"""\
# exported on Monday
\x20
otpauth://totp/Example:alice?secret={SECRET}
  u-4711   OTPAUTH://totp/Example:alice?secret={SECRET}&digits=8\x20\x20
u 4712\totpauth://totp/alice?secret={SECRET}
\t# u-4713 otpauth://totp/alice?secret={SECRET}
""")
    assert [(item.where, item.owner, item.source) for item in items] == [
        ("line 3", "alice", "otpauth: alice"), ("line 4", "u-4711", "otpauth: u-4711"),
        ("line 5", "u 4712", "otpauth: u 4712"),
    ]
    assert items[1].parameters == Parameters(digits=8)
    assert {(item.last_step, item.drift, item.failures) for item in items} == {(None, 0, 0)}


@pytest.mark.parametrize(("line", "owner", "reason"), [
    (f"bob otpauth://hotp/a?secret={SECRET}&counter=5", "bob", "HOTP: only time-based devices are assigned"),
    (f"otpauth://steam/a?secret={SECRET}", "", "the type of a key URI is totp or hotp"),
    (f"otpauth://totp/a?secret={SECRET}&encoder=steam", "",
     "codes in another alphabet (Steam) are not those of RFC 4226"),
    ("otpauth://totp/a?secret=JBSWY3DPEHPK3PXP", "", "a key has 16 to 1024 bytes (RFC4226-4-R6)"),
    (SECRET, "", "a line is a key URI, or an owner's name and a key URI"),
    ("https://example.com/", "", "a line is a key URI, or an owner's name and a key URI"),
])
def test_what_is_not_adopted_and_why(line, owner, reason):
    assert read(line) == [Rejected(where="line 1", owner=owner, reason=reason)]


def test_short_keys_by_name():
    (item,) = read("otpauth://totp/a?secret=JBSWY3DPEHPK3PXP", unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)


def test_the_policy_decides_what_a_uri_may_ask_for(importing, clock):
    uri = f"otpauth://totp/a?secret={SECRET}&algorithm=SHA512&period=1"
    (told,) = importing(read(uri))
    assert "the policy does not offer" in told.reason


def test_a_short_key_signs_in(importing, registry, clock):
    (told,) = importing(read("otpauth://totp/a?secret=JBSWY3DPEHPK3PXP", unsafe_short_keys=True))
    assert told.fate is Status.ADOPTED
    clock.advance(60)
    assert registry.verify(user("a"), Phone(UnsafeShortKey(b"Hello!\xde\xad\xbe\xef"), clock).code())


@given(st.text() | st.text(st.sampled_from(f"otpauth://totp/a?secret={SECRET}&\n #")))
def test_any_text_is_entries_or_reasons(text):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(text))
