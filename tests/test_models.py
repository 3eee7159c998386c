"""Principals, devices, sessions and receipts: bounds, consistency, and texts without secrets."""

from __future__ import annotations

import json
import uuid
from dataclasses import fields
from typing import Any

import pytest

from vmfa import (
    Actor,
    Deactivation,
    DerivedKeys,
    DeviceRegistry,
    EnrollmentSession,
    InvalidType,
    InvalidValue,
    KeyRef,
    Kind,
    MemoryStore,
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
from vmfa.models import ClientState, Envelope, FailingClient, PendingBinding, RecoveryState
from vmfa.validators import MAX_INTEGER

ALICE = PrincipalId.user("123456789012", "u-4711")
REF = KeyRef(scheme="derived", key_id="0123456789abcdef", material=bytes(16))
SESSION: dict[str, Any] = {
    "session_id": "s",
    "serial": "n",
    "parameters": Parameters(),
    "opened_at": 0,
    "expires_at": 900,
}
DEVICE: dict[str, Any] = {
    "serial": "n",
    "parameters": Parameters(),
    "enrolled_at": 0,
    "sync": Sync.IN_SYNC,
    "last_step": 5,
    "budget": 100,
    "budget_updated_at": 0,
}


def message_of(kind: Any, /, **values: Any) -> str:
    """The message with which *kind* refuses *values*."""
    with pytest.raises((InvalidValue, InvalidType)) as caught:
        kind(**values)
    return str(caught.value)


class TestPrincipalId:
    def test_a_user_of_an_account(self) -> None:
        assert (ALICE.account, ALICE.kind, ALICE.name) == ("123456789012", Kind.USER, "u-4711")
        assert not ALICE.is_root
        assert str(ALICE) == "123456789012/user/u-4711"

    def test_the_root_of_an_account(self) -> None:
        root = PrincipalId.root("123456789012")
        assert (root.account, root.kind, root.name) == ("123456789012", Kind.ROOT, "")
        assert root.is_root
        assert str(root) == "123456789012/root/"

    def test_its_text_is_unambiguous(self) -> None:
        assert str(PrincipalId.user("a/user/b", "c")) == "a%2Fuser%2Fb/user/c"
        assert str(PrincipalId.user("a%2F", "c")) == "a%252F/user/c"
        assert str(PrincipalId.user("a", "user/c")) == "a/user/user/c"

    def test_names_are_compared_exactly(self) -> None:
        assert PrincipalId.user("a", "Bob") != PrincipalId.user("a", "bob")
        ids = {PrincipalId.user("a", "b"), PrincipalId.user("a", "b"), PrincipalId.root("a")}
        assert len(ids) == 2

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("account", ""),
            ("account", "a "),
            ("account", 1),
            ("kind", "user"),
            ("name", ""),
            ("name", " b"),
            ("name", "e\u0301"),
            ("name", None),
        ],
    )
    def test_an_invalid_field_is_named(self, field: str, value: object) -> None:
        values = {"account": "a", "kind": Kind.USER, "name": "b", field: value}
        assert field in message_of(PrincipalId, **values)

    def test_root_has_no_name(self) -> None:
        assert "root" in message_of(PrincipalId, account="a", kind=Kind.ROOT, name="b")


class TestKeyRef:
    def test_its_text_does_not_show_the_material(self) -> None:
        ref = KeyRef(scheme="plain", key_id="", material=b"a secret of 16 bytes")
        assert repr(ref) == str(ref) == "KeyRef(scheme='plain', key_id='')"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("scheme", ""),
            ("scheme", "s" * 33),
            ("scheme", None),
            ("key_id", "k" * 65),
            ("key_id", None),
            ("material", bytes(4097)),
            ("material", "text"),
            ("material", bytearray(1)),
        ],
        ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
    )
    def test_an_invalid_field_is_named(self, field: str, value: object) -> None:
        values = {"scheme": "s", "key_id": "", "material": b"", field: value}
        assert message_of(KeyRef, **values).startswith(field)

    def test_the_longest_key_ref(self) -> None:
        ref = KeyRef(scheme="s" * 32, key_id="k" * 64, material=bytes(4096))
        assert len(ref.material) == 4096


DEVICE_BOUNDS = {
    "drift": (-1000, 1000),
    "synced_drift": (-1000, 1000),
    "last_offset": (-1, 1),
    "last_step": (-1, 2**64 - 1),
    "failures": (0, 10_000),
    "budget": (0, 10_000),
    "enrolled_at": (-MAX_INTEGER, MAX_INTEGER),
    "failed_at": (-MAX_INTEGER, MAX_INTEGER),
    "budget_updated_at": (-MAX_INTEGER, MAX_INTEGER),
    "budget_restored_at": (-MAX_INTEGER, MAX_INTEGER),
    "known_failures": (0, 10_000),
    "known_failed_at": (-MAX_INTEGER, MAX_INTEGER),
}


class TestVirtualDevice:
    def test_the_defaults(self) -> None:
        device = VirtualDevice(**DEVICE)
        assert not device.disabled
        numbers = (
            device.drift,
            device.synced_drift,
            device.last_offset,
            device.failures,
            device.failed_at,
        )
        assert numbers == (0, 0, 0, 0, 0)

    def test_a_new_device_has_no_failures(self):
        """RULE-RANGES: the defaults are within the ranges, and the earliest that they can be."""
        device = VirtualDevice(**DEVICE)
        optional = {
            field.name: getattr(device, field.name)
            for field in fields(VirtualDevice)
            if field.name not in DEVICE and isinstance(getattr(device, field.name), int)
        }
        assert optional == {
            "disabled": False, "drift": 0, "synced_drift": 0, "last_offset": 0, "failures": 0,
            "failed_at": 0, "known_failures": 0, "known_failed_at": 0,
            "budget_restored_at": -MAX_INTEGER,
        }

    @pytest.mark.parametrize("name", DEVICE_BOUNDS)
    def test_every_number_is_bounded(self, name: str) -> None:
        """RULE-RANGES: a number outside of its bounds is refused, and so is another type."""
        low, high = DEVICE_BOUNDS[name]
        for edge in (low, high):
            assert getattr(VirtualDevice(**{**DEVICE, name: edge}), name) == edge
        for value in (low - 1, high + 1, None, 1.0, True, "1"):
            assert message_of(VirtualDevice, **{**DEVICE, name: value}).startswith(name)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"serial": ""},
            {"serial": "n" * 65},
            {"serial": None},
            {"parameters": None},
            {"sync": "in sync"},
            {"disabled": 0},
            {"disabled": None},
        ],
        ids=lambda wrong: f"{wrong}"[:30],
    )
    def test_an_invalid_field_is_named(self, wrong: dict[str, object]) -> None:
        assert message_of(VirtualDevice, **{**DEVICE, **wrong}).startswith(next(iter(wrong)))


class TestClientState:
    def test_at_most_four_failing_clients(self) -> None:
        client = FailingClient(token_id="t", failures=1, expires_at=5)
        assert len(ClientState(failing=(client,) * 4).failing) == 4
        with pytest.raises(InvalidValue):
            ClientState(failing=(client,) * 5)

    @pytest.mark.parametrize("wrong", [{"epoch": -1}, {"given": "t" * 33}, {"epoch": 1.0}])
    def test_an_invalid_field_is_named(self, wrong: dict[str, object]) -> None:
        assert message_of(ClientState, **wrong).startswith(next(iter(wrong)))


class TestRecoveryState:
    def test_its_text_does_not_show_the_digests(self) -> None:
        assert "digest" not in repr(RecoveryState(codes=("digest",)))

    def test_at_most_twenty_codes(self) -> None:
        assert len(RecoveryState(codes=("d",) * 20).codes) == 20
        with pytest.raises(InvalidValue):
            RecoveryState(codes=("d",) * 21)

    @pytest.mark.parametrize("wrong", [{"failures": -1}, {"failed_at": None}])
    def test_an_invalid_field_is_named(self, wrong: dict[str, object]) -> None:
        assert message_of(RecoveryState, **wrong).startswith(next(iter(wrong)))


class TestEnrollmentSession:
    def test_attempts_are_bounded(self) -> None:
        assert EnrollmentSession(**SESSION).attempts == 0
        assert EnrollmentSession(**SESSION, attempts=1000).attempts == 1000

    @pytest.mark.parametrize(
        "wrong",
        [
            {"session_id": ""},
            {"session_id": "s" * 65},
            {"serial": ""},
            {"serial": "n" * 65},
            {"parameters": {}},
            {"attempts": -1},
            {"attempts": 1001},
            {"attempts": True},
            {"opened_at": None},
            {"expires_at": 1.5},
            {"opened_at": MAX_INTEGER + 1},
            {"expires_at": MAX_INTEGER + 1},
        ],
        ids=lambda wrong: f"{wrong}"[:30],
    )
    def test_an_invalid_field_is_named(self, wrong: dict[str, object]) -> None:
        assert message_of(EnrollmentSession, **{**SESSION, **wrong}).startswith(next(iter(wrong)))


class TestPendingBinding:
    def test_its_text_does_not_show_the_digest(self) -> None:
        assert "d" * 64 not in repr(PendingBinding(digest="d" * 64, expires_at=5))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"digest": ""},
            {"digest": "d" * 65},
            {"digest": None},
            {"expires_at": None},
            {"expires_at": MAX_INTEGER + 1},
        ],
        ids=lambda wrong: f"{wrong}"[:30],
    )
    def test_an_invalid_field_is_named(self, wrong: dict[str, object]) -> None:
        values = {"digest": "d", "expires_at": 5, **wrong}
        assert message_of(PendingBinding, **values).startswith(next(iter(wrong)))


class TestPrincipal:
    def test_an_unknown_principal(self) -> None:
        unknown = Principal(id=ALICE)
        assert unknown.revision == unknown.events == 0
        assert unknown.seen_at == unknown.recovered_at == -MAX_INTEGER
        assert (unknown.enrollment_times, unknown.head) == ((), "")
        parts = (
            unknown.device,
            unknown.enrollment,
            unknown.key_ref,
            unknown.binding,
            unknown.envelope,
        )
        assert parts == (None,) * 5

    def test_a_principal_has_one_device_or_one_enrollment(self) -> None:
        """SEED-ONE: a principal with both cannot be represented."""
        device, session = VirtualDevice(**DEVICE), EnrollmentSession(**SESSION)
        assert Principal(id=ALICE, device=device, key_ref=REF).enrollment is None
        assert Principal(id=ALICE, enrollment=session, key_ref=REF).device is None
        with pytest.raises(InvalidValue):
            Principal(id=ALICE, device=device, enrollment=session, key_ref=REF)

    @pytest.mark.parametrize(
        "part",
        [
            pytest.param({"key_ref": REF}, id="a key alone"),
            pytest.param({"device": VirtualDevice(**DEVICE)}, id="a device alone"),
            pytest.param({"enrollment": EnrollmentSession(**SESSION)}, id="an enrollment alone"),
        ],
    )
    def test_a_key_belongs_to_a_device_or_an_enrollment(self, part: dict[str, Any]) -> None:
        with pytest.raises(InvalidValue):
            Principal(id=ALICE, **part)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"id": "alice"},
            {"revision": -1},
            {"revision": True},
            {"revision": MAX_INTEGER + 1},
            {"seen_at": None},
            {"seen_at": MAX_INTEGER + 1},
            {"recovered_at": "1"},
            {"enrollment_times": (1, None)},
            {"enrollment_times": (MAX_INTEGER + 1,)},
            {"events": -1},
            {"events": 1.0},
            {"head": None},
            {"head": "h" * 129},
            {"head": "h "},
            {"pruned": -1},
            {"pruned": True},
        ],
        ids=lambda wrong: f"{wrong}"[:30],
    )
    def test_an_invalid_field_is_named(self, wrong: dict[str, object]) -> None:
        assert message_of(Principal, **{"id": ALICE, **wrong}).startswith(next(iter(wrong)))

    def test_pruned_is_at_most_events(self) -> None:
        assert Principal(id=ALICE, events=5, pruned=5).pruned == 5
        with pytest.raises(InvalidValue):
            Principal(id=ALICE, events=5, pruned=6)

    def test_its_text_does_not_show_the_stored_document(self) -> None:
        principal = Principal(id=ALICE, envelope=Envelope(document="the document", tag="tag"))
        assert "document" not in repr(principal)
        assert "the document" not in repr(principal.envelope)


def receipt_of(claim: MfaClaim) -> Receipt:
    return Receipt(
        principal=ALICE, serial="n", step=5, at=150, drift=0, failures_cleared=2, claim=claim
    )


class TestMfaClaim:
    @pytest.mark.parametrize("given", [{"serial": "n"}, {"method": "webauthn"}], ids=str)
    def test_a_claim_names_a_serial_or_a_method(self, given: dict[str, str]) -> None:
        assert MfaClaim(at=5, **given).at == 5

    @pytest.mark.parametrize(
        "wrong",
        [
            {},
            {"serial": "n", "method": "webauthn"},
            {"at": None, "serial": "n"},
            {"at": MAX_INTEGER + 1, "serial": "n"},
            {"serial": 7},
            {"serial": "n" * 65},
            {"method": b""},
            {"method": "m" * 65},
        ],
        ids=lambda wrong: f"{wrong}"[:30],
    )
    def test_an_invalid_claim_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises((InvalidValue, InvalidType)):
            MfaClaim(**{"at": 5, **wrong})


class TestClaimAsJson:
    CLAIM = MfaClaim(at=5, serial="n", tag="t")

    def test_a_claim_survives_json(self) -> None:
        assert MfaClaim.from_dict(json.loads(json.dumps(self.CLAIM.to_dict()))) == self.CLAIM

    @pytest.mark.parametrize(
        "change",
        [
            {"v": 2},
            {"v": True},
            {"at": "5"},
            {"serial": 7},
            {"method": "m"},
            {"serial": "", "method": ""},
            {"more": 1},
        ],
        ids=str,
    )
    def test_another_dict_is_refused(self, change: dict[str, object]) -> None:
        with pytest.raises(InvalidValue):
            MfaClaim.from_dict({**self.CLAIM.to_dict(), **change})

    @pytest.mark.parametrize("value", [None, [], "claim", {}], ids=repr)
    def test_another_value_is_refused(self, value: object) -> None:
        with pytest.raises(InvalidValue):
            MfaClaim.from_dict(value)

    def test_a_missing_field_is_refused(self) -> None:
        for name in self.CLAIM.to_dict():
            value = self.CLAIM.to_dict()
            del value[name]
            with pytest.raises(InvalidValue):
                MfaClaim.from_dict(value)


class TestAnswers:
    def test_a_receipt_gives_the_claim(self) -> None:
        receipt = receipt_of(MfaClaim(at=150, serial="n"))
        assert receipt.claim == MfaClaim(at=150, serial="n")

    def test_a_receipt_is_true(self) -> None:
        """A wrong code raises, so ``if registry.verify(...)`` is correct."""
        assert receipt_of(MfaClaim(at=150, serial="n"))

    @pytest.mark.parametrize("sync", Sync)
    def test_a_sync_report_cannot_be_used_as_a_boolean(self, sync: Sync) -> None:
        """It would be true for a device that is assigned out of sync."""
        report = SyncReport(device=VirtualDevice(**DEVICE), sync=sync, steps_off=-1)
        with pytest.raises(InvalidType, match="sync"):
            bool(report)

    def test_an_opened_enrollment_gives_the_key_to_the_caller(self) -> None:
        opened = OpenedEnrollment(
            session_id="s", serial="n", expires_at=9, base32="GEZD", uri="otpauth://"
        )
        assert (opened.session_id, opened.serial, opened.expires_at) == ("s", "n", 9)
        assert (opened.base32, opened.uri) == ("GEZD", "otpauth://")

    def test_a_deactivation(self) -> None:
        deactivation = Deactivation(
            serial="n", at=5, binding_code=None, binding_code_expires_at=0
        )
        assert (deactivation.serial, deactivation.at) == ("n", 5)
        assert deactivation.binding_code is None
        assert deactivation.binding_code_expires_at == 0


def test_the_longest_texts_fit() -> None:
    text = "n" * 64
    assert VirtualDevice(**{**DEVICE, "serial": text}).serial == text
    session = EnrollmentSession(**{**SESSION, "serial": text, "session_id": text})
    assert (session.serial, session.session_id) == (text, text)
    assert MfaClaim(at=1, serial=text).serial == MfaClaim(at=1, method=text).method == text
    assert PendingBinding(digest=text, expires_at=5).digest == text
    assert Principal(id=ALICE, head="h" * 128).head == "h" * 128


def test_stored_words_never_change() -> None:
    assert [kind.value for kind in Kind] == ["root", "user"]
    assert [sync.value for sync in Sync] == ["in sync", "out of sync"]


def test_a_device_has_no_field_for_a_key() -> None:
    assert not {"key", "key_ref", "secret"} & {field.name for field in fields(VirtualDevice)}


MESSAGES = {
    "no name": (
        lambda: PrincipalId.user("a", ""),
        "the name of a user must not be empty",
    ),
    "root with a name": (
        lambda: PrincipalId(account="a", kind=Kind.ROOT, name="b"),
        "the name of root must be empty",
    ),
    "device and enrollment": (
        lambda: Principal(
            id=ALICE,
            device=VirtualDevice(**DEVICE),
            enrollment=EnrollmentSession(**SESSION),
            key_ref=REF,
        ),
        "a principal has either a device or an open enrollment",
    ),
    "a key alone": (
        lambda: Principal(id=ALICE, key_ref=REF),
        "key_ref must be set exactly if there is a device or an enrollment",
    ),
    "an empty claim": (
        lambda: MfaClaim(at=1),
        "a claim must name either a serial number or another method",
    ),
    "a report as a boolean": (
        lambda: bool(SyncReport(device=VirtualDevice(**DEVICE), sync=Sync.IN_SYNC, steps_off=0)),
        "SyncReport cannot be used as a boolean: check report.sync",
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    create, message = MESSAGES[name]
    with pytest.raises((InvalidType, InvalidValue)) as caught:
        create()
    assert str(caught.value) == message


@pytest.mark.parametrize("name", [4711, None, uuid.UUID(int=0), b"u-1"])
def test_the_id_of_a_user_must_be_text(name: Any) -> None:
    with pytest.raises(InvalidType, match=r"^name must be a str: pass str\(user\.id\), for"):
        PrincipalId.user("main", name)
    with pytest.raises(InvalidType, match=r"^account must be a str$"):
        PrincipalId.user(name, "u-1")


@pytest.mark.parametrize("principal", ["u-4711", 4711, None])
def test_the_error_for_another_principal_says_how_to_build_one(principal: Any) -> None:
    registry = DeviceRegistry(MemoryStore(), keys=DerivedKeys(bytes(32)), issuer="Example")
    for act in (
        lambda: registry.requires_code(principal),
        lambda: registry.claim_is_valid(principal, None),
        lambda: registry.verify(principal, "123456"),
        lambda: registry.method_claim(principal, "passkey"),
        lambda: Actor.signed_in(principal),
    ):
        with pytest.raises(InvalidType) as caught:
            act()
        assert str(caught.value) == (
            "principal must be a PrincipalId: pass PrincipalId.user(account, str(user.id))"
        )
