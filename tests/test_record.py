"""The stored record: its frozen format, and that no edited row is accepted as a record."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reference import vectors
from support import MASTER, enroll
from vmfa import (
    DerivedKeys,
    DeviceRegistry,
    EnrollmentSession,
    InvalidType,
    KeyRef,
    Kind,
    Parameters,
    Principal,
    PrincipalId,
    RecordTampered,
    SQLiteStore,
    StoreTooNew,
    Sync,
    UnknownMasterKey,
    VirtualDevice,
)
from vmfa.models import ClientState, Envelope, FailingClient, PendingBinding, RecoveryState
from vmfa.record import VERSION, authenticated, check_intact, columns, from_columns
from vmfa.testing import FrozenClock

Row = tuple[str, str, str, int, str, str, str]

KEYS = DerivedKeys(MASTER)
ALICE = PrincipalId.user("123456789012", "u-4711")
SERIAL = "00112233445566778899aabbccddeeff"
REF = KeyRef(scheme="derived", key_id=KEYS.current_id, material=bytes(range(16)))
UNKNOWN = Principal(id=ALICE)
FROZEN = {row["what"]: row for row in vectors("frozen_v1")["records"]}
ENROLLING = Principal(
    id=ALICE,
    revision=1,
    seen_at=1_700_000_010,
    key_ref=REF,
    enrollment_times=(1_700_000_010,),
    events=1,
    head="h1",
    enrollment=EnrollmentSession(
        session_id="a0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
        serial=SERIAL,
        parameters=Parameters(),
        opened_at=1_700_000_010,
        expires_at=1_700_000_910,
        attempts=2,
        opened_by_owner=False,
    ),
)
ASSIGNED = Principal(
    id=ALICE,
    revision=7,
    seen_at=1_700_000_100,
    key_ref=REF,
    enrollment_times=(1_700_000_010, 1_700_000_020),
    events=3,
    head="h3",
    pruned=2,
    device=VirtualDevice(
        serial=SERIAL,
        parameters=Parameters(),
        enrolled_at=1_700_000_040,
        sync=Sync.IN_SYNC,
        drift=-1,
        last_offset=1,
        last_step=56_666_669,
        failures=2,
        failed_at=1_700_000_090,
        known_failures=1,
        known_failed_at=1_700_000_095,
        budget=97,
        budget_updated_at=1_700_000_040,
        budget_restored_at=1_700_000_050,
        clients=ClientState(
            epoch=3,
            failing=(
                FailingClient(
                    token_id="0f0e0d0c0b0a09080706050403020100",
                    failures=1,
                    expires_at=1_707_776_095,
                ),
            ),
            given="f0e0d0c0b0a090807060504030201000",
        ),
        recovery=RecoveryState(
            codes=("5d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",),
            failures=4,
            failed_at=1_700_000_099,
        ),
    ),
)
REMOVED = Principal(
    id=PrincipalId.root("123456789012"),
    revision=9,
    seen_at=1_700_000_200,
    recovered_at=1_700_000_190,
    binding=PendingBinding(
        digest="2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881",
        expires_at=1_700_086_600,
    ),
    events=4,
    head="h4",
)
STATES = {"enrolling": ENROLLING, "assigned": ASSIGNED, "removed": REMOVED}


def row_of(principal: Principal) -> Row:
    return columns(authenticated(principal, KEYS))


def read_row(
    account: str, kind: str, name: str, revision: Any, state: Any, tag: Any, audit_tag: Any = ""
) -> Principal:
    who = PrincipalId(account=account, kind=Kind(kind), name=name)
    return from_columns(who, revision, state, tag, audit_tag)


def edited(*changes: tuple[str, str]) -> Row:
    """The row of ASSIGNED with text replaced in its document."""
    account, kind, name, revision, document, *tags = row_of(ASSIGNED)
    for old, new in changes:
        assert document.count(old) == 1, old
        document = document.replace(old, new)
    return account, kind, name, revision, document, *tags


def every_value(document: Any, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """The position of every value in *document*, lists included."""
    paths = [path] if path else []
    if isinstance(document, list):
        for place, value in enumerate(document):
            paths += every_value(value, (*path, place))
    return paths


def with_value(document: str, path: tuple[int, ...], value: object) -> str:
    """*document* with another *value* at *path*."""
    rewritten = part = json.loads(document)
    for place in path[:-1]:
        part = part[place]
    part[path[-1]] = value
    return json.dumps(rewritten, separators=(",", ":"))


class TestFormat:
    @pytest.mark.parametrize("name", STATES)
    def test_the_written_row_is_frozen(self, name: str) -> None:
        row = FROZEN[name]
        assert row_of(STATES[name]) == (
            row["account"],
            row["kind"],
            row["name"],
            row["revision"],
            row["document"],
            row["tag"],
            row["audit_tag"],
        )

    @pytest.mark.parametrize("name", STATES)
    def test_a_frozen_row_is_read(self, name: str) -> None:
        row = FROZEN[name]
        fields = ("account", "kind", "name", "revision", "document", "tag", "audit_tag")
        record = read_row(*(row[field] for field in fields))
        check_intact(record, KEYS)
        assert replace(record, envelope=None) == STATES[name]

    def test_a_row_that_was_read_is_written_unchanged(self) -> None:
        row = row_of(ASSIGNED)
        assert read_row(*row).envelope == Envelope(document=row[4], tag=row[5], audit_tag=row[6])
        assert columns(read_row(*row)) == row

    def test_what_a_registry_stores_comes_back(
        self, tmp_path: Path, keys: DerivedKeys, clock: FrozenClock, alice: PrincipalId
    ) -> None:
        with SQLiteStore(tmp_path / "mfa.db") as store:
            registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
            enroll(registry, clock, alice)
            stored = store.load(alice)
        record = read_row(*columns(stored))
        assert record == stored
        assert record.device is not None
        check_intact(record, keys)


class TestAuthentication:
    @pytest.mark.parametrize("name", STATES)
    def test_an_authenticated_record_is_intact(self, name: str) -> None:
        check_intact(authenticated(STATES[name], KEYS), KEYS)

    def test_only_an_authenticated_record_can_be_stored(self) -> None:
        with pytest.raises(InvalidType):
            columns(ASSIGNED)

    def test_a_record_that_was_never_stored_is_intact(self) -> None:
        check_intact(UNKNOWN, KEYS)

    @pytest.mark.parametrize(
        "change",
        [
            {"revision": 1},
            {"seen_at": 0},
            {"events": 1},
            {"head": "h"},
            {"enrollment_times": (1,)},
            {"recovered_at": 0},
            {"binding": PendingBinding(digest="d", expires_at=0)},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_state_without_a_tag_is_tampering(self, change: dict[str, Any]) -> None:
        with pytest.raises(RecordTampered):
            check_intact(replace(UNKNOWN, **change), KEYS)

    def test_a_device_without_a_tag_is_tampering(self) -> None:
        with pytest.raises(RecordTampered):
            check_intact(ASSIGNED, KEYS)

    @pytest.mark.parametrize(
        "edit",
        [
            pytest.param(lambda row: ("123456789013", *row[1:]), id="another account"),
            pytest.param(lambda row: (*row[:2], "u-4712", *row[3:]), id="another name"),
            pytest.param(lambda row: (*row[:3], row[3] + 1, *row[4:]), id="a later revision"),
            pytest.param(lambda row: (*row[:3], row[3] - 1, *row[4:]), id="an earlier revision"),
            pytest.param(lambda _: edited(("[2,1700000090,", "[0,1700000090,")), id="failures"),
            pytest.param(lambda _: edited(("56666669", "5")), id="last_step"),
            pytest.param(
                lambda row: (*row[:4], row[4].replace(",", ", ", 1), *row[5:]), id="spelling"
            ),
            pytest.param(
                lambda row: (*row[:5], row[5][:-1] + ("1" if row[5][-1] == "0" else "0"), row[6]),
                id="the last digit of the tag",
            ),
            pytest.param(lambda row: (*row[:5], "", row[6]), id="no tag"),
            pytest.param(lambda row: (*row[:5], row_of(ENROLLING)[5], row[6]), id="an older tag"),
        ],
    )
    def test_an_edited_or_moved_row_is_tampering(self, edit: Callable[[Row], Row]) -> None:
        """RULE-RECORD: everything in the row is authenticated."""
        record = read_row(*edit(row_of(ASSIGNED)))
        with pytest.raises(RecordTampered):
            check_intact(record, KEYS)

    def test_a_row_of_root_moved_to_a_user_is_tampering(self) -> None:
        account, _, _, *rest = row_of(REMOVED)
        with pytest.raises(RecordTampered):
            check_intact(read_row(account, "user", "u", *rest), KEYS)

    def test_another_master_key_is_reported_as_unknown(self) -> None:
        record = authenticated(ASSIGNED, KEYS)
        with pytest.raises(UnknownMasterKey):
            check_intact(record, DerivedKeys(bytes(32)))
        check_intact(record, DerivedKeys(bytes(32), MASTER))


WRONG_VALUES = (None, True, -(2**63), 2**64, 1.5, "\u00e9", "x", [], ["x"], {}, {"x": 1})


class TestReading:
    @pytest.mark.parametrize("name", STATES)
    def test_a_wrong_value_anywhere_is_tampering_or_fails_authentication(self, name: str) -> None:
        """RULE-RANGES: no value of a document can raise any other error."""
        account, kind, who, revision, document, tag, _ = row_of(STATES[name])
        for path in every_value(json.loads(document))[1:]:  # the version is tested below
            for value in WRONG_VALUES:
                changed = with_value(document, path, value)
                if changed == document:
                    continue
                with pytest.raises(RecordTampered) as caught:
                    check_intact(read_row(account, kind, who, revision, changed, tag), KEYS)
                assert caught.value.__context__ is None  # it would have the document

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("1700000100", "null"),
            ("1700000100", "1.0"),
            ("1700000100", str(2**63)),
            ('"in sync"', '"no such state"'),
            ('"in sync"', "null"),
            ("56666669", "-2"),
            ("56666669", str(2**64)),
            ("56666669", "56666669.0"),
            (",false,[-1,", ",0,[-1,"),
            (",false,[-1,", ",false,[1001,"),
            (",97,", ",10001,"),
            (f'"{SERIAL}"', '""'),
            ('["sha1",6,30,0]', "null"),
            ('["sha1",6,30,0]', '"sha1"'),
            ('["sha1",6,30,0]', '["sha1",6,30]'),
            ('["sha1",6,30,0]', '["md5",6,30,0]'),
            ('["sha1",6,30,0]', '["sha1",9,30,0]'),
            ('["sha1",6,30,0]', '["sha1",6,0,0]'),
            ('["sha1",6,30,0]', '["sha1",6.0,30,0]'),
            ('["sha1",6,30,0]', '["sha1",6,30,false]'),
            ('["sha1",6,30,0]', '["sha1",6,30,-0.0]'),
            ('"AAECAwQFBgcICQoLDA0ODw=="', '"?"'),
            ('"AAECAwQFBgcICQoLDA0ODw=="', '"AA"'),
            ('"AAECAwQFBgcICQoLDA0ODw=="', f'"{"A" * 8192}"'),
            ('"derived"', '""'),
            ("[1700000010,1700000020]", '"x"'),
            ("[1700000010,1700000020]", "7"),
            ("[1700000010,1700000020]", str([2**63])),
            ('"h3"', "7"),
        ],
    )
    def test_an_impossible_value_is_tampering(self, old: str, new: str) -> None:
        """RULE-RANGES: it is refused when the row is read, before anything is computed."""
        read_row(*row_of(ASSIGNED))
        with pytest.raises(RecordTampered) as caught:
            read_row(*edited((old, new)))
        assert caught.value.__context__ is None  # it would have the document

    @pytest.mark.parametrize("place", range(1, 6))
    def test_a_missing_value_is_tampering(self, place: int) -> None:
        account, kind, who, revision, document, tag, _ = row_of(ASSIGNED)
        values = json.loads(document)
        del values[place]
        with pytest.raises(RecordTampered):
            read_row(account, kind, who, revision, json.dumps(values), tag)

    @pytest.mark.parametrize(
        "document",
        [
            "",
            "{",
            "null",
            "[]",
            "{}",
            f"[{VERSION}]",
            f"[{VERSION}] ",
            "7",
            '"v"',
            None,
            7,
            b"\xff",
            "[" * 100_000,
            '{"v":' * 100_000,
            '{"v":1' + "0" * 5000 + "}",
            "\ud800",
            '{"v":NaN}',
        ],
        ids=lambda document: ascii(document)[:20],
    )
    def test_text_that_is_not_a_record_is_tampering(self, document: Any) -> None:
        with pytest.raises(RecordTampered):
            read_row("a", "user", "b", 1, document, "t")

    @pytest.mark.parametrize("rest", ["]", "x", ",0]"])
    def test_text_after_the_document_is_tampering(self, rest: str) -> None:
        account, kind, who, revision, document, tag, _ = row_of(ASSIGNED)
        with pytest.raises(RecordTampered):
            read_row(account, kind, who, revision, document + rest, tag)

    @pytest.mark.parametrize("text", ["h\ud800", "h\u00e9"], ids=ascii)
    def test_a_document_that_is_not_ascii_is_tampering(self, text: str) -> None:
        """Text that cannot be encoded would raise an error with the document in it."""
        with pytest.raises(RecordTampered):
            read_row(*edited(('"h3"', f'"{text}"')))

    @pytest.mark.parametrize(
        ("column", "value"),
        [(3, -1), (3, None), (3, "1"), (3, 1.0), (3, True), (5, None), (5, 7), (5, b"t")],
    )
    def test_an_impossible_column_is_tampering(self, column: int, value: object) -> None:
        row: list[Any] = list(row_of(ASSIGNED))
        row[column] = value
        with pytest.raises(RecordTampered):
            read_row(*row)

    @pytest.mark.parametrize("version", [None, "1", True, 1.0, [], 0, -1])
    def test_a_version_that_is_not_a_positive_int_is_tampering(self, version: object) -> None:
        account, kind, who, revision, document, tag, _ = row_of(ASSIGNED)
        with pytest.raises(RecordTampered):
            read_row(account, kind, who, revision, with_value(document, (0,), version), tag)

    @pytest.mark.parametrize("document", [f"[{VERSION + 1}]", f'[{VERSION + 98},{{"x":1}}]'])
    def test_a_newer_version_is_reported_and_not_guessed(self, document: str) -> None:
        with pytest.raises(StoreTooNew):
            read_row("a", "user", "b", 1, document, "t")


MESSAGES: dict[str, tuple[Callable[[], object], str]] = {
    "not decided": (
        lambda: columns(ASSIGNED),
        "only a principal that a decision returned can be stored",
    ),
    "edited": (
        lambda: check_intact(ASSIGNED, KEYS),
        "the stored record of this principal was not written by this library",
    ),
    "unreadable": (
        lambda: read_row("a", "user", "b", 1, "{", "t"),
        "a stored record cannot be read",
    ),
    "newer": (
        lambda: read_row("a", "user", "b", 1, "[9]", "t"),
        "a stored document has version 9; this release reads up to 1",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    call, message = MESSAGES[name]
    with pytest.raises((InvalidType, RecordTampered, StoreTooNew)) as caught:
        call()
    assert str(caught.value) == message
