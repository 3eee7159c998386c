"""What authenticator apps export: protocol buffers, written here by hand."""

from __future__ import annotations

import tracemalloc
from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given, strategies as st

from batches import error_of, user
from leaks import assert_silent
from support import phone_with
from vmfa import Key, Parameters, UnsafeShortKey
from vmfa.importers import otpauth_migration, reading
from vmfa.importers.base import ImportedDevice, Rejected, Status, UnreadableSource
from vmfa.importers.otpauth_migration import read
from vmfa.importers.reading import HOTP

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


def account(
    secret: bytes | int = RAW, name: str | bytes | int = "Example:alice", **fields: int
) -> bytes:
    numbers = {"algorithm": 4, "digits": 5, "type": 6, "counter": 7}
    issuer = ((3, "Example"),)
    return message(
        (1, secret),
        (2, name),
        *issuer,
        *((numbers[field], value) for field, value in fields.items()),
    )


def uri(*accounts: bytes) -> str:
    """Return a URI as apps write it: accounts, version, batch size, index and id."""
    payload = message(*((1, one) for one in accounts), (2, 1), (3, 1), (4, 0), (5, 2**31 - 1))
    return f"otpauth-migration://offline?data={quote(b64encode(payload), safe='')}"


def test_an_export_of_two_accounts(run_import, registry, clock):
    bob = account(b"another key of 20 b.", "bob", algorithm=1, digits=2, type=2)
    text = uri(account(algorithm=1, digits=1, type=2), bob)
    outcomes = run_import(read(f"\n{text}\n"))
    assert [(outcome.status, outcome.principal, outcome.where) for outcome in outcomes] == [
        (Status.ADOPTED, user("alice"), "line 2, account 1"),
        (Status.ADOPTED, user("bob"), "line 2, account 2"),
    ]
    clock.advance(60)
    assert registry.verify(user("alice"), phone_with(Key(RAW), clock).code())
    assert registry.verify(
        user("bob"), phone_with(Key(b"another key of 20 b."), clock, Parameters(digits=8)).code()
    )


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({}, Parameters()),
        ({"algorithm": 0, "digits": 0, "type": 0}, Parameters()),
        ({"algorithm": 2, "digits": 2}, Parameters(algorithm="sha256", digits=8)),
        ({"algorithm": 3, "counter": 2**64 - 1}, Parameters(algorithm="sha512")),
    ],
)
def test_enumerations(fields, parameters):
    (item,) = read(uri(account(**fields)))
    assert item.parameters == parameters
    assert (item.key, item.owner, item.system) == (Key(RAW), "alice", "otpauth-migration: alice")
    assert (item.last_step, item.drift) == (None, 0)


@pytest.mark.parametrize(
    ("one", "owner", "reason"),
    [
        (account(type=1, counter=5), "alice", HOTP),
        (
            account(algorithm=4),
            "alice",
            "the algorithm or the number of digits is not one of RFC 6238",
        ),
        (
            account(digits=3),
            "alice",
            "the algorithm or the number of digits is not one of RFC 6238",
        ),
        (account(b"short"), "alice", error_of(lambda: Key(b"short"))),
        (account(5), "alice", "the secret must be bytes"),
        (account(name=b"\xff"), "", "a name in the export is not UTF-8"),
        (
            message((1, RAW), (4, b"x")),
            "",
            "the algorithm or the number of digits is not one of RFC 6238",
        ),
        (account()[:10], "", "the export is cut off"),
        (account() + b"\x09\x05", "", "the export has a field of an unknown kind"),
        (account() + b"\x08", "", "the export is cut off"),
        (account() + b"\x80" * 11, "", "the export has a number of more than 64 bits"),
        (account() + b"\x0a" + varint(2**64 - 1), "", "the export is cut off"),
    ],
)
def test_an_account_is_rejected_with_its_reason(one, owner, reason):
    first, second = read(uri(one, account()))
    assert first == Rejected(where="line 1, account 1", owner=owner, reason=reason)
    assert isinstance(second, ImportedDevice)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "otpauth://totp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY",
            "a line must begin with otpauth-migration://offline?data=",
        ),
        ("otpauth-migration://offline?data=!", "the payload is not the Base64 of an export"),
        ("otpauth-migration://offline?data=%FF", "the payload is not the Base64 of an export"),
        (
            "otpauth-migration://offline?data=CgUBAg==",
            "the payload is not the Base64 of an export",
        ),
    ],
)
def test_a_line_is_rejected_with_its_reason(line, reason):
    assert list(read(line)) == [Rejected(where="line 1", owner="", reason=reason)]


def test_an_export_of_nothing():
    assert not list(read(uri()))
    assert not list(read("otpauth-migration://offline?data="))


def test_an_account_without_a_name_is_refused(run_import):
    (outcome,) = run_import(read(uri(account(name=5))))
    assert outcome.status is Status.REFUSED


def test_an_account_that_is_a_number_is_ignored():
    payload = b64encode(message((1, 5))).decode()
    assert not list(read(f"otpauth-migration://offline?data={payload}"))


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_blanks_around_a_line_are_ignored(blank):
    (item,) = read(f"{blank}\n{blank}{uri(account())}{blank}\n{blank}")
    assert (item.where, item.owner) == ("line 2, account 1", "alice")


def test_blanks_around_a_name_are_ignored():
    (item,) = read(uri(account(name="Example: alice ")))
    assert item.owner == "alice"


def test_an_account_without_a_secret_is_rejected():
    for unsafe_short_keys in (False, True):
        (item,) = read(uri(message((2, "alice"))), unsafe_short_keys=unsafe_short_keys)
        assert isinstance(item, Rejected)


def test_the_last_value_of_a_repeated_field_counts():
    fields = [(1, bytes(20)), (2, "bob"), (3, "Other"), (4, 2), (5, 2), (6, 1)]
    twice = message(
        *fields, (1, RAW), (2, "Example:alice"), (3, "Example"), (4, 1), (5, 1), (6, 2)
    )
    (item,) = read(uri(twice))
    assert (item.key, item.owner, item.parameters) == (Key(RAW), "alice", Parameters())


@pytest.mark.parametrize("kind", [1, 3, 4, 5, 6, 7])
def test_fields_that_are_neither_numbers_nor_bytes_are_of_an_unknown_kind(kind):
    (item,) = read(uri(account() + varint(9 << 3 | kind) + varint(1) + b"x"))
    assert item == Rejected(
        where="line 1, account 1", owner="", reason="the export has a field of an unknown kind"
    )


@pytest.mark.parametrize("number", [8, 15, 16, 2047, 2048, 2**29 - 1])
def test_unknown_fields_are_ignored(number):
    unknown = (number, 2**64 - 1), (number, b"whatever")
    (item,) = read(uri(message(*unknown) + account() + message(*unknown)))
    assert (item.key, item.owner) == (Key(RAW), "alice")


@pytest.mark.parametrize("size", [1, 126, 127, 128, 129, 255, 256, 5000])
def test_lengths_of_one_and_more_bytes(size):
    (item,) = read(uri(account(name="x" * size)))
    assert (item.key, item.owner) == (Key(RAW), "x" * size)


def test_a_number_has_ten_bytes_at_most():
    longest, longer = (b"\x38" + b"\x80" * more + b"\x01" for more in (9, 10))
    first, second = read(uri(account() + longest, account() + longer))
    assert first.owner == "alice"
    assert second.reason == "the export has a number of more than 64 bits"


def test_short_keys_only_if_allowed():
    (item,) = read(uri(account(b"0123456789")), unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)


@given(st.binary(max_size=80))
def test_any_payload_gives_devices_or_reasons(payload):
    for text in (uri(payload), f"otpauth-migration://offline?data={b64encode(payload).decode()}"):
        assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(text))


@given(st.binary(max_size=40), st.integers(0, 60))
def test_any_damaged_account_gives_devices_or_reasons(noise, position):
    valid = account(algorithm=1, type=2)
    damaged = valid[:position] + noise + valid[position + len(noise) :]
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(uri(damaged)))


@given(st.text() | st.text().map("otpauth-migration://offline?data={}".format))
def test_any_text_gives_devices_or_reasons(text):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(text))


# Batches: the QR codes of one export


def code(index: int, size: int, *names: str, batch: int = 77) -> str:
    """Return one QR code of an export, as Google Authenticator writes it."""
    accounts = (account(name.encode().ljust(20), name) for name in names)
    fields = ((2, 1), (3, size), (4, index), (5, batch))
    payload = message(*((1, one) for one in accounts), *(f for f in fields if f[1]))
    return f"otpauth-migration://offline?data={quote(b64encode(payload), safe='')}"


def test_a_batch_of_three_codes_in_any_order():
    text = "\n".join([code(2, 3, "dan"), code(0, 3, "alice", "bob"), code(1, 3, "carol")])
    items = list(read(text))
    assert [item.owner for item in items] == ["dan", "alice", "bob", "carol"]
    assert all(isinstance(item, ImportedDevice) and not item.notes for item in items)


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        ((0, 2), "2"),
        ((1, 2), "1"),
        ((0, 1), "3"),
        ((1,), "1, 3"),
    ],
)
def test_a_batch_with_a_missing_code_is_rejected(present, missing):
    text = "\n".join(code(index, 3, f"user-{index}") for index in present)
    reason = f"the export is incomplete: of its 3 QR codes, {missing} missing"
    assert list(read(text)) == [
        Rejected(where=f"line {line}, account 1", owner=f"user-{index}", reason=reason)
        for line, index in enumerate(present, 1)
    ]


def test_a_batch_with_a_missing_code_is_imported_if_allowed():
    text = f"{code(0, 2, 'alice')}\n{code(0, 1, 'bob', batch=78)}"
    first, second = read(text, allow_incomplete=True)
    assert first.notes == ("the export is incomplete: of its 2 QR codes, 2 missing",)
    assert (first.owner, second.owner, second.notes) == ("alice", "bob", ())


def test_an_empty_code_of_an_incomplete_batch_is_named():
    (item,) = read(code(1, 2))
    assert (item.where, item.owner) == ("line 1", "")
    assert "QR codes, 1 missing" in item.reason
    assert not list(read(code(1, 2), allow_incomplete=True))


def test_a_rejected_account_of_an_incomplete_batch_keeps_its_reason():
    payload = message((1, account(b"short")), (3, 2), (4, 0), (5, 77))
    text = f"otpauth-migration://offline?data={b64encode(payload).decode()}"
    for allow_incomplete in (False, True):
        (item,) = read(text, allow_incomplete=allow_incomplete)
        assert item.reason == error_of(lambda: Key(b"short"))


def test_another_batch_does_not_complete_this_one():
    text = "\n".join([code(0, 2, "alice"), code(1, 2, "bob", batch=78), code(1, 3, "carol")])
    assert all(isinstance(item, Rejected) for item in read(text))


def test_a_code_that_is_scanned_twice(run_import):
    text = "\n".join([code(0, 1, "alice"), "# again", code(0, 1, "alice")])
    outcomes = run_import(read(text))
    assert [outcome.status for outcome in outcomes] == [Status.ADOPTED, Status.ALREADY]


def test_many_missing_codes_are_shortened():
    (item,) = read(code(0, 1000, "alice"))
    assert item.reason.endswith("1000 QR codes, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and more missing")


@pytest.mark.parametrize(("index", "size"), [(3, 3), (1, 1), (0, 1001), (2**63, 2**64 - 1)])
def test_an_impossible_place_in_a_batch(index, size):
    (item,) = read(code(index, size, "alice"))
    assert item == Rejected(
        where="line 1", owner="", reason=f"QR code {index + 1} of {size} is not possible"
    )


@pytest.mark.parametrize("number", [3, 4, 5])
def test_a_place_that_is_not_a_number(number):
    payload = message((1, account()), (number, b"x"))
    (item,) = read(f"otpauth-migration://offline?data={b64encode(payload).decode()}")
    assert item.reason == "the number of the QR code is not a number"


def test_a_negative_batch_number():
    (item,) = read(code(0, 1, "alice", batch=2**64 - 5))
    assert isinstance(item, ImportedDevice)


# Bounds


def test_a_line_is_no_longer_than_a_qr_code():
    (item,) = read(uri(account(name="x" * 8192)))
    assert item.reason == "a line must have at most 8192 characters"


def test_a_hostile_export_does_not_fill_the_memory():
    """As 2.6 MiB with a million empty accounts would; here are 8,700 of them."""
    text = f"{uri(*([b''] * 2900))}\n" * 3
    tracemalloc.start()
    items = sum(1 for _ in read(text))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert items == 8_700
    assert peak < 2 << 20


def test_a_source_has_at_most_100_000_codes(monkeypatch):
    assert otpauth_migration.MAX_QR_CODES == 100_000
    monkeypatch.setattr(otpauth_migration, "MAX_QR_CODES", 2)
    line = uri(account())
    assert len(list(read(f"{line}\n#\n{line}"))) == 2
    with pytest.raises(UnreadableSource, match="more than 2 QR codes") as caught:
        list(read(f"{line}\n{line}\n{line}"))
    assert_silent(caught.value, RAW, line[40:60])


def test_a_line_that_is_too_long_shows_no_key(monkeypatch):
    monkeypatch.setattr(reading, "MAX_LINE_CHARACTERS", 4)
    line = uri(account())
    with pytest.raises(UnreadableSource) as caught:
        list(read(line))
    assert_silent(caught.value, line[40:60])
