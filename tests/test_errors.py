"""The error hierarchy, and what each error asks the caller and the claimant to do."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from vmfa import errors

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, BaseException)
]
BASES = {  # of each error, beside VmfaError
    "AccessDenied": (),
    "AlreadyUsed": ("CodeRejected",),
    "ClockWentBack": (),
    "CodeRejected": (),
    "DeviceAlreadyAssigned": (),
    "DeviceDisabled": ("CodeRejected",),
    "InvalidType": ("TypeError",),
    "InvalidValue": ("ValueError",),
    "MalformedCode": ("CodeRejected", "ValueError"),
    "MissingExtra": ("ImportError",),
    "NoDevice": (),
    "NoSession": (),
    "OutOfSync": ("CodeRejected",),
    "OutcomeUnknown": ("StoreUnavailable", "StoreError"),
    "PairRejected": ("CodeRejected",),
    "RandomnessFailed": (),
    "RecordTampered": ("StoreError",),
    "RecoveryCodeRejected": ("CodeRejected",),
    "SchemaUntrusted": ("StoreError",),
    "SignInClosed": ("CodeRejected",),
    "StoreContended": ("StoreError",),
    "StoreCorrupt": ("StoreError",),
    "StoreError": (),
    "StoreTooNew": ("StoreError",),
    "StoreUnavailable": ("StoreError",),
    "Throttled": ("CodeRejected",),
    "TooManySessions": (),
    "TooSoon": (),
    "UnknownMasterKey": (),
    "VmfaError": (),
}

REASONS = {
    "AccessDenied": "access denied",
    "AlreadyUsed": "already used",
    "ClockWentBack": "clock went back",
    "CodeRejected": "not accepted",
    "DeviceAlreadyAssigned": "already assigned",
    "DeviceDisabled": "disabled",
    "InvalidType": "invalid type",
    "InvalidValue": "invalid value",
    "MalformedCode": "malformed",
    "MissingExtra": "missing extra",
    "NoDevice": "no device",
    "NoSession": "no session",
    "OutOfSync": "out of sync",
    "OutcomeUnknown": "outcome unknown",
    "PairRejected": "pair not accepted",
    "RandomnessFailed": "randomness failed",
    "RecordTampered": "record tampered",
    "RecoveryCodeRejected": "recovery code not accepted",
    "SchemaUntrusted": "schema untrusted",
    "SignInClosed": "closed",
    "StoreContended": "store contended",
    "StoreCorrupt": "store corrupt",
    "StoreError": "store error",
    "StoreTooNew": "store too new",
    "StoreUnavailable": "store unavailable",
    "Throttled": "throttled",
    "TooManySessions": "too many sessions",
    "TooSoon": "too soon",
    "UnknownMasterKey": "unknown master key",
    "VmfaError": "error",
}


def built(kind):
    """An error of this kind, with a message."""
    arguments = {"retry_after": 5} if kind is errors.TooSoon else {}
    return kind("message", **arguments)


class TestFamily:
    def test_every_error_is_listed_here(self):
        assert sorted(kind.__name__ for kind in KINDS) == sorted(BASES)

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    def test_the_base_classes_of_an_error(self, kind):
        bases = {base.__name__ for base in kind.__mro__} & {
            *BASES,
            "TypeError",
            "ValueError",
            "ImportError",
        }
        assert bases == {kind.__name__, "VmfaError", *BASES[kind.__name__]}

    def test_reasons_are_constants_that_logs_and_metrics_rely_on(self):
        assert {kind.__name__: kind.reason for kind in KINDS} == REASONS
        assert len(set(REASONS.values())) == len(REASONS)
        assert errors.VmfaError.http_status == 500

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    def test_pickles_and_copies_with_its_data(self, kind):
        error = built(kind)
        error.retry_after = 7
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(again) is kind
            assert str(again) == "message"
            assert vars(again) == vars(error)

    def test_the_data_of_an_error_survives_pickling(self):
        for error in (
            errors.AlreadyUsed(retry_after=5, next_at=60),
            errors.TooManySessions(retry_after=5),
            errors.TooSoon("too soon", retry_after=5),
            errors.AccessDenied("no", missing="mfa claim"),
            errors.Throttled("wait", retry_after=5),
            errors.PairRejected("over", remedy="enroll"),
            errors.RecordTampered("event 4 was changed", kind="changed", number=4),
        ):
            again = pickle.loads(pickle.dumps(error))
            assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


REMEDIES = {  # an error, its remedy, its wait in seconds, and the id of its message
    "rejected": (errors.CodeRejected(), "retry", None, "rejected"),
    "rejected, with a wait": (errors.CodeRejected(retry_after=15), "retry", 15, "rejected"),
    "malformed": (errors.MalformedCode(), "retry", None, "malformed"),
    "pair": (errors.PairRejected(), "retry", None, "pair-rejected"),
    "last pair": (errors.PairRejected(remedy="enroll"), "enroll", None, "enrollment-ended"),
    "stuck pair": (errors.PairRejected(remedy="replace"), "replace", None, "replace"),
    "used, wait": (errors.AlreadyUsed(retry_after=12, next_at=60), "wait", 12, "used-wait"),
    "used": (errors.AlreadyUsed(), "wait", 0, "used-now"),
    "used, stuck": (errors.AlreadyUsed(remedy="replace"), "replace", 0, "replace"),
    "throttled": (errors.Throttled(retry_after=15), "wait", 15, "throttled"),
    "closed": (errors.SignInClosed(), "reopen", None, "closed"),
    "no budget": (
        errors.SignInClosed(retry_after=9, remedy="wait"),
        "wait",
        9,
        "throttled",
    ),
    "out of sync": (errors.OutOfSync(), "resync", None, "out-of-sync"),
    "disabled": (errors.DeviceDisabled(), "replace", None, "replace"),
    "recovery code": (errors.RecoveryCodeRejected(), "retry", None, "rejected"),
}
CLAIMANT_MESSAGES = {
    "rejected": "Not accepted.",
    "malformed": "Enter the digits that the app shows, and nothing else.",
    "pair-rejected": (
        "Not accepted. Enter two codes that follow each other. "
        "If you waited, repeat with new ones."
    ),
    "enrollment-ended": "Not accepted. Start the set-up of the device again.",
    "used-wait": "This code was already used. The next code begins in {wait} seconds.",
    "used-now": "This code was already used. Enter the code that the app shows now.",
    "replace": "This device no longer works. Contact an administrator.",
    "throttled": "Wait {wait} seconds before the next attempt.",
    "closed": (
        "Signing in with a code is closed for now. Use a device that you signed in with before, "
        "or contact an administrator."
    ),
    "out-of-sync": "The device is out of sync. Resynchronize it with two consecutive codes.",
    "denied": "You are not allowed to do this.",
    "code-needed": "Enter a code of your app first. Then try again.",
    "proof-needed": "Confirm your e-mail address and your phone number first. Then try again.",
    "binding-code-needed": (
        "Enter the code that you received when your old device was removed. "
        "If you have none, contact an administrator."
    ),
    "no-session": "This set-up is over. Start it again.",
    "already-assigned": "A device is set up already. Remove it before you set up another one.",
    "too-many-sessions": "Too many set-ups were started today. Try again later.",
    "too-soon": "This was done within the last day. Try again later.",
    "invalid": "An entry is not valid.",
    "unavailable": "The service has a problem. Try again in some minutes, with a new code.",
}
MESSAGE_IDS = {  # of the errors that are not rejections of a code
    "AccessDenied": "denied",
    "ClockWentBack": "unavailable",
    "DeviceAlreadyAssigned": "already-assigned",
    "InvalidType": "invalid",
    "InvalidValue": "invalid",
    "MissingExtra": "unavailable",
    "NoDevice": "rejected",
    "NoSession": "no-session",
    "OutcomeUnknown": "unavailable",
    "RandomnessFailed": "unavailable",
    "RecordTampered": "unavailable",
    "SchemaUntrusted": "unavailable",
    "StoreContended": "unavailable",
    "StoreCorrupt": "unavailable",
    "StoreError": "unavailable",
    "StoreTooNew": "unavailable",
    "StoreUnavailable": "unavailable",
    "TooManySessions": "too-many-sessions",
    "TooSoon": "too-soon",
    "UnknownMasterKey": "unavailable",
    "VmfaError": "unavailable",
}


class TestWhatToDo:
    @pytest.mark.parametrize("name", REMEDIES)
    def test_remedy_wait_and_claimant_message(self, name):
        error, remedy, retry_after, message_id = REMEDIES[name]
        assert (error.remedy, error.retry_after) == (remedy, retry_after)
        assert error.message_id == message_id
        text = errors.CLAIMANT_MESSAGES[message_id].format(wait=retry_after or 0)
        assert error.claimant_message == text

    def test_the_claimant_messages(self):
        assert errors.CLAIMANT_MESSAGES == CLAIMANT_MESSAGES

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    def test_an_error_has_an_http_status(self, kind):
        assert 400 <= kind.http_status <= 599

    @pytest.mark.parametrize(
        ("missing", "message_id"),
        [
            ("mfa claim", "code-needed"),
            ("administrator", "denied"),
            ("recovery proof", "proof-needed"),
            ("binding code", "binding-code-needed"),
            ("permission", "denied"),
        ],
    )
    def test_access_denied_says_what_is_missing(self, missing, message_id):
        error = errors.AccessDenied("no", missing=missing)
        assert (error.missing, error.message_id) == (missing, message_id)
        assert error.claimant_message == CLAIMANT_MESSAGES[message_id]
        assert errors.AccessDenied().missing == "permission"

    def test_every_rejection_has_a_claimant_message(self):
        kinds = {kind for kind in KINDS if issubclass(kind, errors.CodeRejected)}
        assert all(built(kind).claimant_message.endswith(".") for kind in kinds)

    def test_every_other_error_has_a_claimant_message(self):
        others = [built(kind) for kind in KINDS if not issubclass(kind, errors.CodeRejected)]
        assert {type(error).__name__: error.message_id for error in others} == MESSAGE_IDS
        for error in others:
            assert error.claimant_message == CLAIMANT_MESSAGES[error.message_id]
        assert errors.VmfaError.retry_after is None

    def test_a_missing_device_is_shown_as_a_wrong_code(self):
        assert errors.NoDevice("no").claimant_message == errors.CodeRejected().claimant_message

    def test_a_remedy_can_be_passed(self):
        message = errors.CodeRejected("no", remedy="enroll")
        assert message.claimant_message == "Not accepted. Start the set-up of the device again."
        assert errors.CodeRejected.remedy == "retry"

    def test_default_messages(self):
        assert str(errors.CodeRejected()) == "the code is not accepted"
        assert str(errors.AlreadyUsed()) == "the code was used before"
        assert str(errors.TooManySessions()) == "too many enrollment sessions were opened"

    def test_the_data_of_an_error(self):
        assert errors.AlreadyUsed(next_at=60).next_at == 60
        assert errors.AlreadyUsed().next_at == 0
        assert errors.TooManySessions(retry_after=9).retry_after == 9
        assert errors.TooManySessions().retry_after == 0

    def test_throttled_without_a_wait_does_not_say_none(self):
        assert errors.Throttled().claimant_message == "Wait 0 seconds before the next attempt."
