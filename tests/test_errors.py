"""The error hierarchy, and what each error tells the caller and the claimant to do."""

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
    "PairRejected": ("CodeRejected",),
    "RecordTampered": ("StoreError",),
    "StoreContended": ("StoreError",),
    "StoreCorrupt": ("StoreError",),
    "StoreError": (),
    "StoreTooNew": ("StoreError",),
    "StoreUnavailable": ("StoreError",),
    "Throttled": ("CodeRejected",),
    "TooManySessions": (),
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
    "PairRejected": "pair not accepted",
    "RecordTampered": "record tampered",
    "StoreContended": "store contended",
    "StoreCorrupt": "store corrupt",
    "StoreError": "store error",
    "StoreTooNew": "store too new",
    "StoreUnavailable": "store unavailable",
    "Throttled": "throttled",
    "TooManySessions": "too many sessions",
    "UnknownMasterKey": "unknown master key",
    "VmfaError": "error",
}


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

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
    def test_pickles_and_copies_with_its_data(self, kind):
        error = kind("message")
        error.retry_after = 7
        for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(again) is kind
            assert str(again) == "message"
            assert vars(again) == vars(error)

    def test_the_data_of_an_error_survives_pickling(self):
        for error in (
            errors.AlreadyUsed(retry_after=5, next_at=60),
            errors.TooManySessions(retry_after=5),
            errors.Throttled("wait", retry_after=5),
            errors.PairRejected("over", remedy="enroll"),
        ):
            again = pickle.loads(pickle.dumps(error))
            assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


class TestWhatToDo:
    @pytest.mark.parametrize(
        ("error", "remedy", "retry_after", "message"),
        [
            (errors.CodeRejected(), "retry", None, "Not accepted."),
            (errors.CodeRejected(retry_after=15), "retry", 15, "Not accepted."),
            (errors.MalformedCode(), "retry", None, "Not accepted."),
            (
                errors.PairRejected(),
                "retry",
                None,
                (
                    "Not accepted. Enter two codes that follow each other; if you waited, "
                    "repeat with new ones."
                ),
            ),
            (
                errors.PairRejected(remedy="enroll"),
                "enroll",
                None,
                "Not accepted. Start the set-up of the device again.",
            ),
            (
                errors.AlreadyUsed(retry_after=12, next_at=60),
                "wait",
                12,
                "This code was already used. The next code begins in 12 seconds.",
            ),
            (
                errors.AlreadyUsed(),
                "wait",
                0,
                "This code was already used. Enter the code that is shown now.",
            ),
            (
                errors.Throttled(retry_after=15),
                "wait",
                15,
                "Wait 15 seconds before the next attempt.",
            ),
            (
                errors.OutOfSync(),
                "resync",
                None,
                "The device is out of sync. Resynchronise it with two consecutive codes.",
            ),
            (
                errors.DeviceDisabled(),
                "replace",
                None,
                "This device no longer works. Contact an administrator.",
            ),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
    )
    def test_remedy_wait_and_claimant_message(self, error, remedy, retry_after, message):
        assert error.remedy == remedy
        assert error.retry_after == retry_after
        assert error.claimant_message == message

    def test_every_rejection_has_a_claimant_message(self):
        kinds = {kind for kind in KINDS if issubclass(kind, errors.CodeRejected)}
        assert all(kind().claimant_message.endswith(".") for kind in kinds)

    def test_a_remedy_can_be_passed(self):
        message = errors.CodeRejected("no", remedy="enroll")
        assert message.claimant_message == "Not accepted. Start the set-up of the device again."
        assert errors.CodeRejected.remedy == "retry"

    def test_default_messages(self):
        assert str(errors.CodeRejected()) == "the code is not accepted"
        assert str(errors.AlreadyUsed()) == "the code was used before"
        assert str(errors.TooManySessions()) == "too many enrollments were opened"

    def test_the_data_of_an_error(self):
        assert errors.AlreadyUsed(next_at=60).next_at == 60
        assert errors.AlreadyUsed().next_at == 0
        assert errors.TooManySessions(retry_after=9).retry_after == 9
        assert errors.TooManySessions().retry_after == 0

    def test_throttled_without_a_wait_does_not_say_none(self):
        assert errors.Throttled().claimant_message == "Wait 0 seconds before the next attempt."
