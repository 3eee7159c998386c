"""The values: no impossible one exists, and printing one shows no secret."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

import vmfa
from vmfa import (
    Deactivation,
    EnrollmentSession,
    InvalidType,
    InvalidValue,
    KeyRef,
    Kind,
    MfaClaim,
    OpenedEnrollment,
    Parameters,
    Principal,
    PrincipalId,
    Receipt,
    Sync,
    SyncReport,
    VirtualDevice,
)
from vmfa.models import Envelope, PendingBinding
from vmfa.validators import MAX_INTEGER, check_instance, check_text, check_time

ALICE = PrincipalId.user("123456789012", "u-4711")
REF = KeyRef(scheme="derived", key_id="0123456789abcdef", material=bytes(16))
SESSION = {"session_id": "s", "serial": "n", "parameters": Parameters(), "opened_at": 0, "expires_at": 900}
DEVICE = {
    "serial": "n", "parameters": Parameters(), "enrolled_at": 0, "sync": Sync.IN_SYNC, "last_step": 5, "budget": 100,
    "budget_updated_at": 0,
}


class TestCheckText:
    @pytest.mark.parametrize("text", [
        "a", "a b", "Zo\u00eb", "\u65e5\u672c", "a\u00a0b", "\U0001f511", "%2F/:@", "x" * 512, "\u00e9" * 256,
    ])
    def test_names(self, text):
        check_text("name", text)

    @pytest.mark.parametrize(("text", "sentence"), [
        ("", "is empty"),
        (" a", "blanks at its edges"), ("a ", "blanks at its edges"), ("a\n", "blanks at its edges"),
        ("\u00a0a", "blanks at its edges"), ("a\u2003", "blanks at its edges"), (" ", "blanks at its edges"),
        ("a\x00b", "control characters"), ("a\x7fb", "control characters"), ("a\nb", "control characters"),
        ("a\u0378b", "control characters"),
        ("a\u200bb", "control characters"), ("a\u202eb", "control characters"), ("a\ufeffb", "control characters"),
        ("a\u2028b", "control characters"), ("a\u2029b", "control characters"), ("a\x85b", "control characters"),
        ("a\ud800b", "control characters"),
        ("e\u0301", "normalization form C"), ("\u212b", "normalization form C"),
        ("x" * 513, "longer than 512 bytes"), ("\u00e9" * 257, "longer than 512 bytes"),
    ])
    def test_one_spelling_a_name(self, text, sentence):
        with pytest.raises(InvalidValue, match=f"^name .*{sentence}"):
            check_text("name", text)

    def test_a_refusal_does_not_quote(self):
        for refused in ("canary ", "canary\0", "canary" * 100, "canarye\u0301"):
            with pytest.raises(InvalidValue) as caught:
                check_text("name", refused)
            assert "canary" not in str(caught.value)

    def test_bounds_and_emptiness_are_the_callers(self):
        check_text("name", "", empty=True)
        check_text("name", "abc", longest=3)
        with pytest.raises(InvalidValue, match="longer than 3 bytes"):
            check_text("name", "abcd", longest=3)

    @pytest.mark.parametrize("value", [None, b"a", 1, ["a"]])
    def test_a_name_is_text(self, value):
        with pytest.raises(InvalidType, match="name is text"):
            check_text("name", value)


def test_check_time():
    check_time("at", MAX_INTEGER)
    check_time("at", -MAX_INTEGER)
    with pytest.raises(InvalidValue, match="at is"):
        check_time("at", MAX_INTEGER + 1)
    with pytest.raises(InvalidType, match="at is an int"):
        check_time("at", 1.0)


def test_check_is():
    check_instance("mfa", 1, int)
    with pytest.raises(InvalidType, match=r"^mfa is a MfaClaim$"):
        check_instance("mfa", 1, MfaClaim)


class TestPrincipalId:
    def test_a_user_of_an_account(self):
        assert dataclasses.astuple(ALICE) == ("123456789012", Kind.USER, "u-4711")
        assert not ALICE.is_root
        assert str(ALICE) == "123456789012/user/u-4711"

    def test_the_root_of_an_account(self):
        root = PrincipalId.root("123456789012")
        assert dataclasses.astuple(root) == ("123456789012", Kind.ROOT, "")
        assert root.is_root
        assert str(root) == "123456789012/root/"

    def test_its_text_is_unambiguous(self):
        assert str(PrincipalId.user("a/user/b", "c")) == "a%2Fuser%2Fb/user/c"
        assert str(PrincipalId.user("a%2F", "c")) == "a%252F/user/c"
        assert str(PrincipalId.user("a", "user/c")) == "a/user/user/c"

    def test_compared_as_it_is_spelled(self):
        assert PrincipalId.user("a", "Bob") != PrincipalId.user("a", "bob")
        assert len({PrincipalId.user("a", "b"), PrincipalId.user("a", "b"), PrincipalId.root("a")}) == 2

    @pytest.mark.parametrize(("given", "error"), [
        (("", Kind.USER, "b"), InvalidValue), (("a", Kind.USER, ""), InvalidValue),
        (("a", Kind.ROOT, "b"), InvalidValue), (("a ", Kind.USER, "b"), InvalidValue),
        (("a", Kind.USER, " b"), InvalidValue), (("a", Kind.USER, "e\u0301"), InvalidValue),
        ((1, Kind.USER, "b"), InvalidType), (("a", "user", "b"), InvalidType), (("a", Kind.USER, None), InvalidType),
        (("a", Kind.ROOT, None), InvalidType),
    ])
    def test_impossible_ones(self, given, error):
        part = "the name of root|account|kind|name"
        with pytest.raises(error, match=f"^({part}) (is|has) "):
            PrincipalId(*given)


class TestKeyRef:
    def test_its_text_shows_no_material(self):
        ref = KeyRef(scheme="plain", key_id="", material=b"a secret of 16 bytes")
        assert repr(ref) == str(ref) == "KeyRef(scheme='plain', key_id='')"

    @pytest.mark.parametrize(("given", "error"), [
        (("", "", b""), InvalidValue), (("s" * 33, "", b""), InvalidValue), (("s", "k" * 65, b""), InvalidValue),
        (("s", "", bytes(4097)), InvalidValue), (("s", "", "text"), InvalidType),
        (("s", "", bytearray(1)), InvalidType),
        ((None, "", b""), InvalidType), (("s", None, b""), InvalidType),
    ])
    def test_impossible_ones(self, given, error):
        with pytest.raises(error, match=r"^(scheme|key_id|material) is "):
            KeyRef(*given)

    def test_the_longest(self):
        assert len(KeyRef(scheme="s" * 32, key_id="k" * 64, material=bytes(4096)).material) == 4096


DEVICE_BOUNDS = {
    "drift": (-1000, 1000), "synced_drift": (-1000, 1000), "last_offset": (-1, 1), "last_step": (-1, 2**64 - 1),
    "failures": (0, 10_000), "budget": (0, 10_000), "enrolled_at": (-MAX_INTEGER, MAX_INTEGER),
    "failed_at": (-MAX_INTEGER, MAX_INTEGER), "budget_updated_at": (-MAX_INTEGER, MAX_INTEGER),
}


class TestVirtualDevice:
    def test_a_new_one(self):
        device = VirtualDevice(**DEVICE)
        unset = {"disabled": False, "drift": 0, "synced_drift": 0, "last_offset": 0, "failures": 0, "failed_at": 0}
        assert {name: getattr(device, name) for name in device.__slots__} == DEVICE | unset

    def test_it_is_not_told_by_position(self):
        with pytest.raises(TypeError):
            VirtualDevice("n")

    @pytest.mark.parametrize("name", DEVICE_BOUNDS)
    def test_every_number_is_bounded(self, name):
        low, high = DEVICE_BOUNDS[name]
        for edge in (low, high):
            assert getattr(VirtualDevice(**DEVICE | {name: edge}), name) == edge
        for beyond in (low - 1, high + 1):
            with pytest.raises(InvalidValue, match=f"^{name} is {low} to {high}$"):
                VirtualDevice(**DEVICE | {name: beyond})
        for other in (None, 1.0, True, "1"):
            with pytest.raises(InvalidType, match=f"^{name} is an int$"):
                VirtualDevice(**DEVICE | {name: other})

    @pytest.mark.parametrize("wrong", [
        {"serial": ""}, {"serial": "n" * 65}, {"serial": None}, {"parameters": None}, {"sync": "in sync"},
        {"disabled": 0}, {"disabled": None},
    ])
    def test_impossible_ones(self, wrong):
        with pytest.raises((InvalidValue, InvalidType), match=f"^{next(iter(wrong))} "):
            VirtualDevice(**DEVICE | wrong)


class TestEnrollmentSession:
    @pytest.mark.parametrize("attempts", [0, 1000])
    def test_a_session(self, attempts):
        assert EnrollmentSession(**SESSION, attempts=attempts).attempts == attempts
        assert EnrollmentSession(**SESSION).attempts == 0

    @pytest.mark.parametrize("wrong", [
        {"session_id": ""}, {"session_id": "s" * 65}, {"serial": ""}, {"serial": "n" * 65}, {"parameters": {}},
        {"attempts": -1}, {"attempts": 1001}, {"attempts": True}, {"opened_at": None}, {"expires_at": 1.5},
        {"opened_at": MAX_INTEGER + 1}, {"expires_at": MAX_INTEGER + 1},
    ])
    def test_impossible_ones(self, wrong):
        with pytest.raises((InvalidValue, InvalidType), match=f"^{next(iter(wrong))} "):
            EnrollmentSession(**SESSION | wrong)


class TestBinding:
    def test_its_text_shows_no_digest(self):
        assert repr(PendingBinding(digest="d" * 64, expires_at=5)) == "PendingBinding(expires_at=5)"
        assert PendingBinding(digest="", expires_at=5).digest == ""

    @pytest.mark.parametrize("given", [("d" * 65, 5), (None, 5), ("", None), ("", MAX_INTEGER + 1)])
    def test_impossible_ones(self, given):
        with pytest.raises((InvalidValue, InvalidType), match=r"^(digest|expires_at) is "):
            PendingBinding(*given)


class TestPrincipal:
    def test_one_that_was_never_stored(self):
        nobody = Principal(id=ALICE)
        assert (nobody.revision, nobody.seen_at, nobody.recovered_at) == (0, -MAX_INTEGER, -MAX_INTEGER)
        assert (nobody.device, nobody.enrollment, nobody.key_ref, nobody.binding, nobody.envelope) == (None,) * 5
        assert (nobody.enrollment_times, nobody.events, nobody.head) == ((), 0, "")

    def test_seed_one_is_the_shape_of_the_type(self):
        device, session = VirtualDevice(**DEVICE), EnrollmentSession(**SESSION)
        assert Principal(id=ALICE, device=device, key_ref=REF).enrollment is None
        assert Principal(id=ALICE, enrollment=session, key_ref=REF).device is None
        with pytest.raises(InvalidValue, match=r"^a principal has a device or enrolls one, never both$"):
            Principal(id=ALICE, device=device, enrollment=session, key_ref=REF)

    @pytest.mark.parametrize("held", [
        {"key_ref": REF}, {"device": VirtualDevice(**DEVICE)}, {"enrollment": EnrollmentSession(**SESSION)},
    ])
    def test_a_key_has_a_holder_and_a_holder_a_key(self, held):
        with pytest.raises(InvalidValue, match=r"^a key is referred to by exactly one device or enrollment$"):
            Principal(id=ALICE, **held)

    @pytest.mark.parametrize("wrong", [
        {"pruned": -1}, {"pruned": True}, {"redacted": -1}, {"redacted": None},
        {"head": None}, {"head": "h" * 129}, {"head": "h "}, {"id": "alice"},
        {"revision": -1}, {"revision": True}, {"revision": MAX_INTEGER + 1}, {"events": -1},
        {"events": 1.0}, {"seen_at": None}, {"seen_at": MAX_INTEGER + 1}, {"recovered_at": "1"},
        {"enrollment_times": (1, None)}, {"enrollment_times": (MAX_INTEGER + 1,)},
    ])
    def test_impossible_ones(self, wrong):
        with pytest.raises((InvalidValue, InvalidType), match=f"^{next(iter(wrong))} "):
            Principal(**{"id": ALICE} | wrong)

    def test_the_most_that_fits(self):
        most = Principal(id=ALICE, revision=MAX_INTEGER, events=5, pruned=5, redacted=5, head="h" * 128)
        assert (most.pruned, most.redacted, len(most.head)) == (5, 5, 128)
        for change in ({"pruned": 6}, {"redacted": 6}, {"pruned": 4}, {"events": 4}):
            with pytest.raises(InvalidValue, match=r"^redacted <= pruned <= events$"):
                replace(most, **change)

    def test_its_text_shows_no_document(self):
        sealed = Principal(id=ALICE, envelope=Envelope(document="the document", tag="tag"))
        assert "document" not in repr(sealed)
        assert repr(sealed.envelope) == "Envelope(tag='tag')"


class TestAnswers:
    @pytest.mark.parametrize("given", [{"serial": "n"}, {"method": "webauthn"}])
    def test_a_claim_names_a_serial_or_a_method(self, given):
        assert MfaClaim(at=5, **given).at == 5

    @pytest.mark.parametrize("wrong", [
        {"at": 5}, {"at": 5, "serial": "n", "method": "webauthn"}, {"at": None, "serial": "n"}, {"at": 5, "serial": 7},
        {"at": 5, "method": b""}, {"at": 5, "serial": "n" * 65}, {"at": 5, "method": "m" * 65},
        {"at": MAX_INTEGER + 1, "serial": "n"},
    ])
    def test_impossible_claims(self, wrong):
        sentence = "^((at|serial|method) is |a claim names a serial number or another method$)"
        with pytest.raises((InvalidValue, InvalidType), match=sentence):
            MfaClaim(**wrong)

    def test_a_receipt_gives_the_claim(self):
        receipt = Receipt(principal=ALICE, serial="n", step=5, at=150, drift=0, failures_cleared=2)
        assert receipt.claim == MfaClaim(at=150, serial="n")

    def test_a_report(self):
        device = VirtualDevice(**DEVICE)
        report = SyncReport(device=device, sync=device.sync, steps_off=-1)
        assert report.steps_off == -1
        with pytest.raises(InvalidType) as caught:
            bool(report)
        assert str(caught.value) == "a report has no truth: look at its sync, which may be out of sync"

    def test_what_is_shown_once_can_be_read(self):
        opened = OpenedEnrollment(session_id="s", serial="n", expires_at=9, base32="GEZD", uri="otpauth://")
        assert (opened.session_id, opened.serial, opened.expires_at) == ("s", "n", 9)
        assert (opened.base32, opened.uri) == ("GEZD", "otpauth://")
        removed = Deactivation(serial="n", at=5, binding_code=None)
        assert (removed.serial, removed.at, removed.binding_code) == ("n", 5, None)


VALUES = [
    vmfa.Policy(), Parameters(), ALICE, REF, VirtualDevice(**DEVICE), EnrollmentSession(**SESSION), Principal(id=ALICE),
    MfaClaim(at=1, serial="n"), PendingBinding(digest="", expires_at=5), Envelope(document="", tag=""),
    Receipt(principal=ALICE, serial="n", step=5, at=150, drift=0, failures_cleared=2),
    SyncReport(device=VirtualDevice(**DEVICE), sync=Sync.IN_SYNC, steps_off=0),
]
BY_POSITION = (PrincipalId, KeyRef, PendingBinding, Envelope)


def test_the_longest_texts_fit():
    long = "n" * 64
    assert VirtualDevice(**DEVICE | {"serial": long}).serial == long
    session = EnrollmentSession(**SESSION | {"serial": long, "session_id": long})
    assert (session.serial, session.session_id) == (long, long)
    assert (MfaClaim(at=1, serial=long).serial, MfaClaim(at=1, method=long).method) == (long, long)
    assert PendingBinding(digest=long, expires_at=5).digest == long


def test_stored_words_never_change():
    assert [kind.value for kind in Kind] == ["root", "user"]
    assert [sync.value for sync in Sync] == ["in sync", "out of sync"]
    assert MAX_INTEGER == 4_611_686_018_427_387_904


@pytest.mark.parametrize("value", [value for value in VALUES if not isinstance(value, BY_POSITION)], ids=repr)
def test_values_are_told_by_name(value):
    fields = dataclasses.fields(value)
    with pytest.raises(TypeError):
        type(value)(*(getattr(value, field.name) for field in fields))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen(value):
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)
    assert not hasattr(value, "__dict__")
