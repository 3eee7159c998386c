"""Lists of key URIs: who owns a key, and what is rejected."""

from __future__ import annotations

import tracemalloc

import pyotp
import pytest
from hypothesis import given, strategies as st

from batches import error_of, user
from leaks import assert_silent
from support import phone_with
from vmfa import Key, Parameters, UnsafeShortKey
from vmfa.importers import reading
from vmfa.importers.base import ImportedDevice, Rejected, Status, UnreadableSource
from vmfa.importers.otpauth import FORM, read
from vmfa.importers.reading import HOTP
from vmfa.keyuri import parse

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
URI = f"otpauth://totp/alice?secret={SECRET}"


def test_a_list_that_pyotp_wrote(run_import, registry, clock):
    totps = {
        name: pyotp.TOTP(pyotp.random_base32()) for name in ("alice@example.com", "bob smith")
    }
    text = "\n".join(
        totp.provisioning_uri(name=name, issuer_name="Big Corp") for name, totp in totps.items()
    )
    outcomes = run_import(read(text))
    assert [outcome.principal for outcome in outcomes] == [user(name) for name in totps]
    clock.advance(60)
    for name, totp in totps.items():
        assert registry.verify(user(name), totp.at(clock()))


def test_the_forms_of_a_line():
    items = list(read(f"""\
# exported on Monday
\x20
otpauth://totp/Example:alice?secret={SECRET}
  u-4711   OTPAUTH://totp/Example:alice?secret={SECRET}&digits=8\x20\x20
u 4712, the second\t{URI}
\t# u-4713 {URI}
uid=carol,dc=example \t {URI}\r
İ-4714 {URI}
"""))
    assert [(item.where, item.owner, item.system) for item in items] == [
        ("line 3", "alice", "otpauth: alice"),
        ("line 4", "u-4711", "otpauth: u-4711"),
        ("line 5", "u 4712, the second", "otpauth: u 4712, the second"),
        ("line 7", "uid=carol,dc=example", "otpauth: uid=carol,dc=example"),
        ("line 8", "İ-4714", "otpauth: İ-4714"),
    ]
    assert items[1].parameters == Parameters(digits=8)
    assert {(item.last_step, item.drift, item.failures) for item in items} == {(None, 0, 0)}
    assert {type(item.key) for item in items} == {Key}


@pytest.mark.parametrize("line", [
    f"bob,{URI}",
    f"bob, {URI}",
    f"bob:{URI}",
    f"bob: {URI}",
    f"bob;{URI}",
    f"bob{URI}",
    f"uri={URI}",
    f"uri= {URI}",
    f'"{URI}"',
    f'" {URI}"',
    f"'bob' {URI}",
    f"<{URI}>",
    f"bob smith {URI}",
    f"bob\tsmith\t{URI}",
    f"bob\tnote {URI}",
    f",,login,Test 1,,,,,,{URI}",
    f",,login,Test1,,,,,,\u00a0{URI}",
    f"the key: {URI}",
    SECRET,
    f"bob {SECRET}",
    "https://example.com/",
    "otpauth:/totp/a",
    "İ" * 20,
])
def test_an_owner_is_never_guessed(line):
    assert list(read(f"# a list\n{line}")) == [
        Rejected(where="line 2", owner="", reason=FORM)
    ]


@pytest.mark.parametrize("line", [
    f"{URI} bob", f"{URI}\tbob", f"bob {URI} smith", f"{URI}\u00a0bob&digits=6",
    f"otpauth://totp/alice?issuer=x&SECRET={SECRET} bob",
])
def test_a_word_after_the_secret_is_not_read_as_base32(line):
    """The letters of "bob" are Base32: they would change the key."""
    (item,) = read(line)
    assert isinstance(item, Rejected)
    assert "the secret contains a blank" in item.reason


def test_a_blank_elsewhere_in_a_uri_is_read():
    (item,) = read(f"otpauth://totp/Big Corp:alice?secret={SECRET}&issuer=Big Corp")
    assert (item.owner, item.key) == ("alice", Key.from_base32(SECRET))


@pytest.mark.parametrize("line", [
    f"bob otpauth://hotp/a?secret={SECRET}&counter=5",
    f"bob otpauth://hotp/a?secret={SECRET}",  # as google-authenticator writes it
    f"bob OTPAUTH://HOTP/a?secret={SECRET}",
])
def test_hotp_is_rejected_with_its_reason(line):
    assert list(read(line)) == [Rejected(where="line 1", owner="bob", reason=HOTP)]


@pytest.mark.parametrize("uri", [
    f"otpauth://steam/a?secret={SECRET}",
    f"otpauth://totp/a?secret={SECRET}&encoder=steam",
    "otpauth://totp/a?secret=JBSWY3DPEHPK3PXP",
    "otpauth://totp/a",
    f"otpauth://totp/a?secret={SECRET}#comment",
    f"otpauth://totp/a?secret={SECRET}&x={'x' * 8192}",
])
def test_a_uri_is_rejected_with_the_reason_of_the_parser(uri):
    (item,) = read(f"bob {uri}")
    assert item == Rejected(where="line 1", owner="bob", reason=error_of(lambda: parse(uri)))


def test_a_uri_without_an_account_name_needs_an_owner():
    uri = f"otpauth://totp?secret={SECRET}"
    without, with_owner = read(f"{uri}\nu-1 {uri}")
    assert without == Rejected(where="line 1", owner="", reason=error_of(lambda: parse(uri)))
    assert (with_owner.owner, with_owner.key) == ("u-1", Key.from_base32(SECRET))


@pytest.mark.parametrize("query", [
    f"secret={SECRET}&tags=work&tags=mail",  # andOTP
    f"secret={SECRET}&issuer=Example&",
])
def test_what_programs_write_is_read(query):
    (item,) = read(f"otpauth://totp/Example%3Aalice?{query}")
    assert (item.owner, item.key) == ("alice", Key.from_base32(SECRET))


def test_short_keys_only_if_allowed():
    uri = "otpauth://totp/a?secret=JBSWY3DPEHPK3PXP"
    (item,) = read(uri, unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)
    (item,) = read(uri)
    assert isinstance(item, Rejected)


def test_the_policy_decides_about_parameters(run_import):
    (outcome,) = run_import(read(f"{URI}&algorithm=SHA512&period=1"))
    assert outcome.status is Status.REFUSED


def test_two_keys_of_one_owner_are_a_conflict(run_import):
    other = pyotp.random_base32()
    text = f"bob {URI}\nbob otpauth://totp/alice?secret={other}\nbob {URI}"
    assert [outcome.status for outcome in run_import(read(text))] == [
        Status.ADOPTED, Status.CONFLICT, Status.ALREADY,
    ]


def test_a_short_key_verifies(run_import, registry, clock):
    uri = "otpauth://totp/a?secret=JBSWY3DPEHPK3PXP"
    (outcome,) = run_import(read(uri, unsafe_short_keys=True))
    assert outcome.status is Status.ADOPTED
    clock.advance(60)
    phone = phone_with(UnsafeShortKey(b"Hello!\xde\xad\xbe\xef"), clock)
    assert registry.verify(user("a"), phone.code())


def test_a_line_that_is_too_long_shows_no_key(monkeypatch):
    monkeypatch.setattr(reading, "MAX_LINE_CHARACTERS", 4)
    with pytest.raises(UnreadableSource) as caught:
        list(read(URI))
    assert_silent(caught.value, SECRET)


def test_the_memory_of_a_long_list_stays_flat():
    text = f"{URI}\n" * 3_000
    tracemalloc.start()
    assert sum(isinstance(item, ImportedDevice) for item in read(text)) == 3_000
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@given(st.text() | st.text(st.sampled_from(f"{URI}&\n\t #")))
def test_any_text_gives_devices_or_reasons(text):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(text))
