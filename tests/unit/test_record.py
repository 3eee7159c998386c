"""The stored record: what its versions look like for ever, and that no edited row is read as a record."""

from __future__ import annotations

import json
from dataclasses import replace

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
from vmfa.models import Envelope, PendingBinding
from vmfa.record import authenticated, check_intact, columns, from_columns
from vmfa.validators import content

KEYS = DerivedKeys(MASTER)
ALICE = PrincipalId.user("123456789012", "u-4711")
SERIAL = "00112233445566778899aabbccddeeff"
REF = KeyRef(scheme="derived", key_id=KEYS.current_id, material=bytes(range(16)))
NOBODY = Principal(id=ALICE)
NOT_OURS = "^the stored record of this principal was not written by this library$"
FROZEN = [{row["what"]: row for row in vectors(f"frozen_v{version}")["records"]} for version in (1, 2)]
FIELDS = (
    "v", "seen_at", "enrollment", "device", "key_ref", "enrollment_times", "recovered_at", "binding", "events", "head",
    "pruned", "redacted",
)

ENROLLING = Principal(
    id=ALICE, revision=1, seen_at=1_700_000_010, key_ref=REF, enrollment_times=(1_700_000_010,), events=1, head="h1",
    enrollment=EnrollmentSession(
        session_id="a0a1a2a3a4a5a6a7a8a9aaabacadaeaf", serial=SERIAL, parameters=Parameters(), opened_at=1_700_000_010,
        expires_at=1_700_000_910, attempts=2,
    ),
)
ASSIGNED = Principal(
    id=ALICE, revision=7, seen_at=1_700_000_100, key_ref=REF, enrollment_times=(1_700_000_010, 1_700_000_020), events=3,
    head="h3",
    device=VirtualDevice(
        serial=SERIAL, parameters=Parameters(), enrolled_at=1_700_000_040, sync=Sync.IN_SYNC, drift=-1,
        last_step=56_666_669, failures=2, failed_at=1_700_000_090, budget=98, budget_updated_at=1_700_000_040,
    ),
)
REMOVED = Principal(
    id=PrincipalId.root("123456789012"), revision=9, seen_at=1_700_000_200, recovered_at=1_700_000_190,
    binding=PendingBinding(digest="2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", expires_at=1_700_086_600), events=4,
    head="h4",
)
STATES = {"enrolling": ENROLLING, "assigned": ASSIGNED, "removed": REMOVED}


def kept(principal: Principal) -> Principal:
    return authenticated(principal, KEYS)


def row_of(principal: Principal) -> tuple[str, str, str, int, str, str]:
    return columns(kept(principal))


def with_state(**edit: object) -> tuple[object, ...]:
    """The row of the assigned principal, its document edited: parts as lists, or as objects with the fields' names."""
    account, kind, name, revision, state, tag = row_of(ASSIGNED)
    named = dict(zip(FIELDS, json.loads(state), strict=True)) | edit
    for part in ("device", "enrollment"):
        if isinstance(named[part], dict):
            named[part] = list(named[part].values())  # type: ignore[union-attr]  # a dict
    return account, kind, name, revision, json.dumps(list(named.values()), separators=(",", ":")), tag


DEVICE = dict(zip(content(ASSIGNED.device), json.loads(row_of(ASSIGNED)[4])[3], strict=True))
SESSION = dict(zip(content(ENROLLING.enrollment), json.loads(row_of(ENROLLING)[4])[2], strict=True))


class TestFrozen:
    @pytest.mark.parametrize("what", STATES)
    def test_is_written_as_ever(self, what):
        row = FROZEN[-1][what]
        assert row_of(STATES[what]) == (
            row["account"], row["kind"], row["name"], row["revision"], row["document"], row["tag"]
        )

    @pytest.mark.parametrize("what", STATES)
    @pytest.mark.parametrize("frozen", FROZEN, ids=["version 1", "version 2"])
    def test_is_read_as_ever(self, frozen, what):
        row = frozen[what]
        who = PrincipalId(account=row["account"], kind=Kind(row["kind"]), name=row["name"])
        read = from_columns(who, row["revision"], row["document"], row["tag"])
        check_intact(read, KEYS)
        assert replace(read, envelope=None) == STATES[what]


class TestSeal:
    @pytest.mark.parametrize("what", STATES)
    def test_a_sealed_record_is_intact(self, what):
        check_intact(kept(STATES[what]), KEYS)

    def test_only_a_sealed_record_is_stored(self):
        with pytest.raises(InvalidType, match=r"^only a decided, sealed principal is stored$"):
            columns(ASSIGNED)

    def test_one_that_was_never_stored_is_intact(self):
        check_intact(NOBODY, KEYS)

    @pytest.mark.parametrize("change", [
        {"revision": 1}, {"seen_at": 0}, {"events": 1}, {"head": "h"}, {"enrollment_times": (1,)}, {"recovered_at": 0},
        {"binding": PendingBinding(digest="", expires_at=0)},
    ])
    def test_state_without_a_seal_is_tampering(self, change):
        with pytest.raises(RecordTampered, match=NOT_OURS):
            check_intact(replace(NOBODY, **change), KEYS)
        with pytest.raises(RecordTampered):
            check_intact(ASSIGNED, KEYS)

    @pytest.mark.parametrize("edit", [
        lambda row: ("123456789013", *row[1:]),
        lambda row: (row[0], row[1], "u-4712", *row[3:]),
        lambda row: (*row[:3], row[3] + 1, *row[4:]),
        lambda row: (*row[:3], row[3] - 1, *row[4:]),
        lambda _: with_state(device=DEVICE | {"failures": 0}),
        lambda _: with_state(device=DEVICE | {"last_step": 5}),
        lambda row: (*row[:4], FROZEN[0]["assigned"]["document"], row[5]),
        lambda row: (*row[:4], row[4].replace(",", ", ", 1), row[5]),
        lambda row: (*row[:5], row[5][:-1] + ("0" if row[5][-1] != "0" else "1")),
        lambda row: (*row[:5], ""),
        lambda row: (*row[:5], row_of(ENROLLING)[5]),
    ])
    def test_an_edited_or_moved_row_is_tampering(self, edit):
        read = read_row(*edit(row_of(ASSIGNED)))
        with pytest.raises(RecordTampered, match=NOT_OURS):
            check_intact(read, KEYS)

    def test_a_row_of_root_is_no_row_of_a_user(self):
        account, _, _, *rest = row_of(REMOVED)
        with pytest.raises(RecordTampered):
            check_intact(read_row(account, "user", "u", *rest), KEYS)

    def test_another_master_key_is_unknown_not_tampering(self):
        with pytest.raises(UnknownMasterKey):
            check_intact(kept(ASSIGNED), DerivedKeys(bytes(32)))
        check_intact(kept(ASSIGNED), DerivedKeys(bytes(32), MASTER))


def read_row(account, kind, name, revision, state, tag):
    return from_columns(PrincipalId(account=account, kind=Kind(kind), name=name), revision, state, tag)


class TestReading:
    @pytest.mark.parametrize("edit", [
        {"v": None}, {"v": "1"}, {"v": True}, {"v": 1.0}, {"v": []},
        {"seen_at": None}, {"seen_at": 1.0}, {"seen_at": 2**63}, {"recovered_at": "x"}, {"events": -1}, {"extra": 1},
        {"id": 1}, {"revision": 1}, {"envelope": 1},
        {"enrollment_times": None}, {"enrollment_times": 7}, {"enrollment_times": ["x"]}, {"enrollment_times": "x"}, {"enrollment_times": [2**63]},
        {"key_ref": None}, {"key_ref": ["derived"]}, {"key_ref": ["derived", "k", "?"]},
        {"key_ref": ["derived", "k", "AA"]}, {"key_ref": ["derived", "k", "\u00e9"]}, {"key_ref": ["", "k", "AAAA"]},
        {"key_ref": ["derived", "k", 7]}, {"key_ref": {"x": 1}}, {"key_ref": "d"}, {"key_ref": 7},
        {"key_ref": [1, 2, "AAAA"]}, {"key_ref": ["derived", "k", "A" * 8192]},
        {"binding": ["d"]}, {"binding": ["d", 1, 2]}, {"binding": ["d", None]}, {"binding": [None, 1]}, {"binding": 7},
        {"device": None}, {"device": 7}, {"device": "x"}, {"device": [1]},
        {"enrollment": SESSION}, {"enrollment": 7}, {"enrollment": "x"}, {"enrollment": [1]},
        {"device": None, "enrollment": SESSION | {"attempts": -1}},
        {"device": None, "enrollment": SESSION | {"serial": None}},
        {"device": None, "enrollment": SESSION | {"extra": 1}},
        {"device": None, "enrollment": {"serial": "n"}},
        *({"device": DEVICE | change} for change in [
            {"sync": "no such state"}, {"sync": None}, {"sync": []}, {"last_step": -2}, {"last_step": 2**64},
            {"last_step": 5.0}, {"failures": -1}, {"disabled": 0}, {"disabled": None}, {"serial": ""},
            {"budget": 10_001}, {"drift": 1001}, {"last_offset": 2}, {"extra": 1}, {"parameters": None}, {"parameters": []},
            {"parameters": "sha1"}, {"parameters": ["sha1", 6, 30]}, {"parameters": ["sha1", 6, 30, 0, 0]},
            {"parameters": ["md5", 6, 30, 0]}, {"parameters": [["sha1"], 6, 30, 0]}, {"parameters": ["sha1", 9, 30, 0]},
            {"parameters": ["sha1", 6, 0, 0]}, {"parameters": ["sha1", 6, -1, 0]},
            {"parameters": ["sha1", 6, 30, None]},
        ]),
    ], ids=lambda edit: json.dumps(edit)[:60])
    def test_an_impossible_value_is_tampering(self, edit):
        with pytest.raises(RecordTampered, match=r"^a stored record cannot be read$") as caught:
            read_row(*with_state(**edit))
        assert caught.value.__context__ is None  # it would carry the document

    @pytest.mark.parametrize("edit", [
        {"key_ref": []}, {"key_ref": {}}, {"device": {}}, {"binding": 0}, {"binding": ""}, {"binding": False},
        {"device": None, "enrollment": {}},
    ], ids=json.dumps)
    def test_an_empty_value_is_not_absence(self, edit):
        with pytest.raises(RecordTampered):
            read_row(*with_state(**edit))

    @pytest.mark.parametrize("head", [None, 7, [], {}])
    def test_the_head_is_text(self, head):
        with pytest.raises(RecordTampered):
            read_row(*with_state(head=head))

    @pytest.mark.parametrize("name", ["seen_at", "enrollment", "device", "key_ref", "enrollment_times", "binding", "head"])
    def test_a_missing_value_is_tampering(self, name):
        account, kind, who, revision, state, tag = row_of(ASSIGNED)
        read = json.loads(state)
        del read[FIELDS.index(name)]
        with pytest.raises(RecordTampered):
            read_row(account, kind, who, revision, json.dumps(read), tag)

    @pytest.mark.parametrize("state", [
        "", "{", "null", "[]", "{}", "[2]", "[2] ", "7", '"v"', None, 7, b"\xff", "[" * 100_000, '{"v":' * 100_000,
        '{"v":1' + "0" * 5000 + "}", "\ud800", '{"v":NaN}',
    ], ids=lambda state: repr(state)[:20])
    def test_no_document_is_tampering(self, state):
        with pytest.raises(RecordTampered):
            read_row("a", "user", "b", 1, state, "t")

    @pytest.mark.parametrize("rest", [" ", "\n", "]", "x", ",0]"])
    def test_nothing_stands_behind_a_document(self, rest):
        account, kind, who, revision, state, tag = row_of(ASSIGNED)
        with pytest.raises(RecordTampered, match=r"^a stored record cannot be read$"):
            read_row(account, kind, who, revision, state + rest, tag)

    @pytest.mark.parametrize("edit", [
        lambda text: text.replace('"recovered_at"', '"rec\ud800"'), lambda text: text.replace('"head"', '"\u00e9"'),
    ])
    def test_a_document_that_is_not_ascii_is_none_of_ours(self, edit):
        """Text that cannot be encoded would come out of the seal's check as an error that holds it."""
        row = FROZEN[0]["assigned"]
        with pytest.raises(RecordTampered):
            read_row(row["account"], row["kind"], row["name"], row["revision"], edit(row["document"]), row["tag"])

    @pytest.mark.parametrize("column", [
        {3: -1}, {3: None}, {3: "1"}, {3: 1.0}, {3: True}, {5: None}, {5: 7}, {5: b"t"},
    ], ids=str)
    def test_impossible_columns_are_tampering(self, column):
        row = dict(enumerate(row_of(ASSIGNED))) | column
        with pytest.raises(RecordTampered):
            read_row(*row.values())

    @pytest.mark.parametrize("version", [3, 99])
    def test_a_newer_version_is_not_guessed_at(self, version):
        with pytest.raises(StoreTooNew, match=f"has version {version}; this release reads up to 2"):
            read_row(*with_state(v=version))

    @pytest.mark.parametrize("document", ["[3]", '{"v":3}'])
    def test_a_newer_version_need_not_look_like_this_one(self, document):
        with pytest.raises(StoreTooNew):
            read_row("a", "user", "b", 1, document, "t")

    @pytest.mark.parametrize("edit", [
        lambda read: read.pop("head"), lambda read: read.update(extra=1), lambda read: read["device"].pop("drift"),
        lambda read: read["device"].update(extra=1), lambda read: read["device"].update(last_step=-2),
    ])
    def test_an_impossible_value_of_version_1_is_tampering(self, edit):
        row = FROZEN[0]["assigned"]
        read = json.loads(row["document"])
        edit(read)
        with pytest.raises(RecordTampered):
            read_row(row["account"], row["kind"], row["name"], row["revision"], json.dumps(read), row["tag"])

    def test_the_seal_is_what_was_read(self):
        row = row_of(ASSIGNED)
        assert read_row(*row).envelope == Envelope(document=row[4], tag=row[5])
        assert columns(read_row(*row)) == row


def test_what_a_registry_stores_comes_back(tmp_path, keys, clock, alice):
    with SQLiteStore(tmp_path / "mfa.db") as store:
        enroll(DeviceRegistry(store, keys=keys, issuer="Example", clock=clock), clock, alice)
        stored = store.load(alice)
    read = read_row(*columns(stored))
    assert read == stored
    assert read.device is not None
    check_intact(read, keys)
