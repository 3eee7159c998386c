"""What authenticator apps export: protocol buffers, written here by hand."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from batches import user
from support import Phone
from vmfa import Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, Status
from vmfa.importers.otpauth_migration import read

RAW = b"12345678901234567890"


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(*fields: tuple[int, int | bytes | str]) -> bytes:
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            chunk = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(chunk)) + chunk
    return out


def account(secret: bytes | int = RAW, name: str | bytes | int = "Example:alice", **fields: int) -> bytes:
    numbers = {"algorithm": 4, "digits": 5, "type": 6, "counter": 7}
    issuer = ((3, "Example"),)
    return message((1, secret), (2, name), *issuer, *((numbers[field], value) for field, value in fields.items()))


def uri(*accounts: bytes) -> str:
    """As the apps write it: version, batch size, index and id behind the accounts."""
    payload = message(*((1, one) for one in accounts), (2, 1), (3, 1), (4, 0), (5, 2**31 - 1))
    return f"otpauth-migration://offline?data={quote(b64encode(payload), safe='')}"


def test_an_export_of_two_accounts(importing, registry, clock):
    bob = account(b"another key of 20 b.", "bob", algorithm=1, digits=2, type=2)
    text = uri(account(algorithm=1, digits=1, type=2), bob)
    told = importing(read(f"\n{text}\n"))
    assert [(outcome.fate, outcome.principal, outcome.where) for outcome in told] == [
        (Status.ADOPTED, user("alice"), "line 2, account 1"), (Status.ADOPTED, user("bob"), "line 2, account 2"),
    ]
    clock.advance(60)
    assert registry.verify(user("alice"), Phone(Key(RAW), clock).code())
    assert registry.verify(user("bob"), Phone(Key(b"another key of 20 b."), clock, Parameters(digits=8)).code())


@pytest.mark.parametrize(("fields", "parameters"), [
    ({}, Parameters()),
    ({"algorithm": 0, "digits": 0, "type": 0}, Parameters()),
    ({"algorithm": 2, "digits": 2}, Parameters(algorithm="sha256", digits=8)),
    ({"algorithm": 3, "counter": 2**64 - 1}, Parameters(algorithm="sha512")),
])
def test_enumerations(fields, parameters):
    (item,) = read(uri(account(**fields)))
    assert item.parameters == parameters
    assert (item.key, item.owner, item.source) == (Key(RAW), "alice", "otpauth-migration: alice")
    assert (item.last_step, item.drift) == (None, 0)


@pytest.mark.parametrize(("one", "owner", "reason"), [
    (account(type=1, counter=5), "alice", "HOTP: only time-based devices are assigned"),
    (account(algorithm=4), "alice", "the algorithm or the number of digits is not one of RFC 6238"),
    (account(digits=3), "alice", "the algorithm or the number of digits is not one of RFC 6238"),
    (account(b"short"), "alice", "a key has 16 to 1024 bytes (RFC4226-4-R6)"),
    (account(5), "alice", "the secret is no bytes"),
    (account(name=b"\xff"), "", "a name in the export is not UTF-8"),
    (message((1, RAW), (4, b"x")), "", "the algorithm or the number of digits is not one of RFC 6238"),
    (account()[:10], "", "the export is cut off"),
    (account() + b"\x09\x05", "", "the export has a field of an unknown kind"),
    (account() + b"\x08", "", "the export is cut off"),
    (account() + b"\x80" * 11, "", "the export has a number of more than 64 bits"),
    (account() + b"\x0a" + varint(2**64 - 1), "", "the export is cut off"),
])
def test_accounts_that_are_not_adopted_and_why(one, owner, reason):
    first, second = read(uri(one, account()))
    assert first == Rejected(where="line 1, account 1", owner=owner, reason=reason)
    assert isinstance(second, ImportedDevice)


@pytest.mark.parametrize(("line", "reason"), [
    ("otpauth://totp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY", "a line begins with otpauth-migration://offline?data="),
    ("otpauth-migration://offline?data=!", "the payload is no Base64 of an export"),
    ("otpauth-migration://offline?data=%FF", "the payload is no Base64 of an export"),
    ("otpauth-migration://offline?data=CgUBAg==", "the payload is no Base64 of an export"),
])
def test_lines_that_are_no_export(line, reason):
    assert read(line) == [Rejected(where="line 1", owner="", reason=reason)]


def test_an_export_of_nothing():
    assert read(uri()) == []
    assert read("otpauth-migration://offline?data=") == []


def test_an_account_without_a_name_is_nobodys(importing):
    (told,) = importing(read(uri(account(name=5))))
    assert (told.fate, told.reason) == (Status.REFUSED, "name is empty")


def test_an_account_that_is_a_number_is_passed_over():
    payload = b64encode(message((1, 5))).decode()
    assert read(f"otpauth-migration://offline?data={payload}") == []


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_blanks_around_a_line_say_nothing(blank):
    (item,) = read(f"{blank}\n{blank}{uri(account())}{blank}\n{blank}")
    assert (item.where, item.owner) == ("line 2, account 1", "alice")


def test_blanks_around_a_name_are_not_the_owners():
    (item,) = read(uri(account(name="Example: alice ")))
    assert item.owner == "alice"


def test_an_account_without_a_secret_has_no_key():
    for unsafe_short_keys in (False, True):
        (item,) = read(uri(message((2, "alice"))), unsafe_short_keys=unsafe_short_keys)
        assert isinstance(item, Rejected)


def test_of_what_is_said_twice_the_last_counts():
    fields = [(1, bytes(20)), (2, "bob"), (3, "Other"), (4, 2), (5, 2), (6, 1)]
    twice = message(*fields, (1, RAW), (2, "Example:alice"), (3, "Example"), (4, 1), (5, 1), (6, 2))
    (item,) = read(uri(twice))
    assert (item.key, item.owner, item.parameters) == (Key(RAW), "alice", Parameters())


@pytest.mark.parametrize("kind", [1, 3, 4, 5, 6, 7])
def test_fields_that_are_neither_numbers_nor_bytes_are_of_an_unknown_kind(kind):
    (item,) = read(uri(account() + varint(9 << 3 | kind) + varint(1) + b"x"))
    assert item == Rejected(where="line 1, account 1", owner="", reason="the export has a field of an unknown kind")


@pytest.mark.parametrize("number", [8, 15, 16, 2047, 2048, 2**29 - 1])
def test_fields_that_nobody_knows_are_passed_over(number):
    unknown = (number, 2**64 - 1), (number, b"whatever")
    (item,) = read(uri(message(*unknown) + account() + message(*unknown)))
    assert (item.key, item.owner) == (Key(RAW), "alice")


@pytest.mark.parametrize("size", [1, 126, 127, 128, 129, 255, 256, 16_383, 16_384, 16_385])
def test_a_length_takes_as_many_bytes_as_it_needs(size):
    (item,) = read(uri(account(name="x" * size)))
    assert (item.key, item.owner) == (Key(RAW), "x" * size)


def test_a_number_has_ten_bytes_at_most():
    longest, longer = (b"\x38" + b"\x80" * more + b"\x01" for more in (9, 10))
    first, second = read(uri(account() + longest, account() + longer))
    assert first.owner == "alice"
    assert second.reason == "the export has a number of more than 64 bits"


def test_short_keys_by_name():
    (item,) = read(uri(account(b"0123456789")), unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)


@given(st.binary(max_size=80))
def test_any_payload_is_entries_or_reasons(payload):
    for text in (uri(payload), f"otpauth-migration://offline?data={b64encode(payload).decode()}"):
        assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(text))


@given(st.binary(max_size=40), st.integers(0, 60))
def test_near_misses(noise, position):
    whole = account(algorithm=1, type=2)
    bent = whole[:position] + noise + whole[position + len(noise) :]
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(uri(bent)))


@given(st.text() | st.text().map("otpauth-migration://offline?data={}".format))
def test_any_text_is_entries_or_reasons(text):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(text))
