"""What can go wrong, by what the caller does next (RULE-BETTER-2).

``CodeRejected`` and its kinds: tell the claimant ``claimant_message``. ``AccessDenied``, ``NoDevice``,
``NoSession``, ``DeviceAlreadyAssigned``, ``TooManySessions``: the request does not fit. ``StoreError``,
``ClockWentBack``, ``UnknownMasterKey``: the environment is at fault, nothing was counted; an operator mends
it. ``InvalidValue`` and ``InvalidType``: the calling code is wrong. No text here ever holds a key or a code.
"""

from __future__ import annotations

__all__ = [
    "AccessDenied",
    "AlreadyUsed",
    "ClockWentBack",
    "CodeRejected",
    "DeviceAlreadyAssigned",
    "DeviceDisabled",
    "InvalidType",
    "InvalidValue",
    "MalformedCode",
    "MissingExtra",
    "NoDevice",
    "NoSession",
    "OutOfSync",
    "OutcomeUnknown",
    "PairRejected",
    "RecordTampered",
    "SchemaUntrusted",
    "StoreContended",
    "StoreCorrupt",
    "StoreError",
    "StoreTooNew",
    "StoreUnavailable",
    "Throttled",
    "TooManySessions",
    "UnknownMasterKey",
    "VmfaError",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Remedy = Literal["retry", "wait", "resync", "replace", "enroll"]


class VmfaError(Exception):
    """Everything this library raises on purpose. ``reason`` is a short constant for logs and metrics."""

    reason: str = "error"


class InvalidValue(VmfaError, ValueError):
    """An argument has the right type and an impossible value."""

    reason = "invalid value"


class InvalidType(VmfaError, TypeError):
    """An argument has the wrong type; the text says which one is wanted."""

    reason = "invalid type"


class MissingExtra(VmfaError, ImportError):
    """A feature needs an optional package; the text names the extra that installs it."""

    reason = "missing extra"


class CodeRejected(VmfaError):
    """A code, or a pair of codes, does not count.

    ``retry_after`` is in whole seconds, or None when no wait is asked for. ``remedy`` is what helps:
    "retry", "wait", "resync", "replace" (an administrator) or "enroll" (start the enrollment again).
    ``claimant_message`` is all that the person who typed the code may be told.
    """

    reason = "not accepted"
    remedy: Remedy = "retry"
    retry_after: int | None = None
    message_template = "Not accepted."

    def __init__(self, message: str = "the code is not accepted", *, retry_after: int | None = None,
                 remedy: Remedy | None = None) -> None:
        self.args = (message,)
        if retry_after is not None:
            self.retry_after = retry_after
        if remedy is not None:
            self.remedy = remedy

    @property
    def claimant_message(self) -> str:
        if self.remedy == "enroll":
            return "Not accepted. Start the set-up of the device again."
        return self.message_template.format(wait=self.retry_after or 0)


class MalformedCode(CodeRejected, ValueError):
    """Not a code at all: never compared, never counted."""

    reason = "malformed"


class PairRejected(CodeRejected):
    """The two codes are not two fresh consecutive codes of this device, near enough to now."""

    reason = "pair not accepted"
    message_template = "Not accepted. Enter two codes that follow each other; if you waited, repeat with new ones."


class AlreadyUsed(CodeRejected):
    """A right code that was spent before (RFC6238-5.2-ONCE, RULE-USED, SEED-BACKUP). Not counted as a failure.

    ``next_at`` is the Unix time at which the next acceptable code begins (RULE-BETTER-4).
    """

    reason = "already used"
    remedy: Remedy = "wait"

    def __init__(self, message: str = "the code was used before", *, retry_after: int = 0, next_at: int = 0) -> None:
        super().__init__(message, retry_after=retry_after)
        self.next_at = next_at
        then = "The next code begins in {wait} seconds." if retry_after else "Enter the code that is shown now."
        self.message_template = f"This code was already used. {then}"


class Throttled(CodeRejected):
    """Too many failures: this attempt was not evaluated (RFC4226-7.3-T)."""

    reason = "throttled"
    remedy: Remedy = "wait"
    message_template = "Wait {wait} seconds before the next attempt."


class OutOfSync(CodeRejected):
    """The device counts, but its codes do not until it is resynchronized: SEED-LATE, RFC6238-6-REAUTH."""

    reason = "out of sync"
    remedy: Remedy = "resync"
    message_template = "The device is out of sync. Resynchronise it with two consecutive codes."


class DeviceDisabled(CodeRejected):
    """The failure cap or the guess budget is used up (SP80063B-3.2.2-CAP). No code revives it."""

    reason = "disabled"
    remedy: Remedy = "replace"
    message_template = "This device no longer works. Contact an administrator."


class AccessDenied(VmfaError):
    """This actor may not do this to this principal."""

    reason = "access denied"


class NoDevice(VmfaError):
    """The principal has no assigned device, or is unknown."""

    reason = "no device"


class NoSession(VmfaError):
    """No such enrollment session is open: never opened, foreign, superseded, expired, closed."""

    reason = "no session"


class DeviceAlreadyAssigned(VmfaError):
    """One device a principal (SEED-ONE): deactivate it before enrolling another (SEED-ROTATE)."""

    reason = "already assigned"


class TooManySessions(VmfaError):
    """The day's enrollment sessions are used up; ``retry_after`` is in whole seconds."""

    reason = "too many sessions"

    def __init__(self, message: str = "too many enrollments were opened", *, retry_after: int = 0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ClockWentBack(VmfaError):
    """The verifier's clock is behind a time it has already committed. Nothing was counted."""

    reason = "clock went back"


class UnknownMasterKey(VmfaError):
    """The record or key was made under a master key that this process was not given. Nothing was counted."""

    reason = "unknown master key"


class StoreError(VmfaError):
    """The store could not do its part: nothing was accepted."""

    reason = "store error"


class StoreContended(StoreError):
    """Others kept changing the same principal, or held the database. Try again."""

    reason = "store contended"


class StoreUnavailable(StoreError):
    """The database cannot be reached, opened or written."""

    reason = "store unavailable"


class OutcomeUnknown(StoreUnavailable):
    """The answer to a commit was lost: the change may have been stored, or may still be.

    Nothing was accepted. A code that was typed may be spent, and a failure may be counted.
    """

    reason = "outcome unknown"


class SchemaUntrusted(StoreError):
    """The database has a trigger, rule, column or other object that vmfa did not create."""

    reason = "schema untrusted"


class StoreCorrupt(StoreError):
    """The database reports that its file is damaged."""

    reason = "store corrupt"


class StoreTooNew(StoreError):
    """A newer vmfa wrote this; this release does not guess."""

    reason = "store too new"


class RecordTampered(StoreError):
    """A stored record is not one that this library wrote for this principal."""

    reason = "record tampered"
