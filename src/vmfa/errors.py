"""The errors of the library, grouped by what the caller does next.

Every error has a ``claimant_message``: a text that you may show to the person at the page.

* :class:`CodeRejected` and its subclasses: the person typed a code that was not accepted.
* :class:`AccessDenied`, :class:`NoDevice`, :class:`NoSession`, :class:`DeviceAlreadyAssigned`,
  :class:`TooManySessions`, :class:`TooSoon`: the request does not fit the state or the actor.
* :class:`StoreError` and its subclasses, :class:`ClockWentBack`, :class:`UnknownMasterKey`: the
  environment is at fault. No failure was counted against the user; alert an operator.
* :class:`InvalidValue`, :class:`InvalidType`: the calling code is wrong.

No text of any error contains a key or a code.
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
    "RandomnessFailed",
    "RecordTampered",
    "RecoveryCodeRejected",
    "SchemaUntrusted",
    "SignInClosed",
    "StoreContended",
    "StoreCorrupt",
    "StoreError",
    "StoreTooNew",
    "StoreUnavailable",
    "Throttled",
    "TooManySessions",
    "TooSoon",
    "UnknownMasterKey",
    "VmfaError",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Literal

    Remedy = Literal["retry", "wait", "resync", "replace", "enroll", "reopen"]
    Missing = Literal["mfa claim", "administrator", "recovery proof", "binding code", "permission"]

CLAIMANT_MESSAGES: Final = {  # RULE-BETTER-2
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
"""The texts for the person at the page, by stable id. ``{wait}`` stands for seconds."""

MESSAGES_OF_MISSING: Final[dict[Missing, str]] = {
    "mfa claim": "code-needed",
    "administrator": "denied",
    "recovery proof": "proof-needed",
    "binding code": "binding-code-needed",
    "permission": "denied",
}


class VmfaError(Exception):
    """The base of every error that this library raises.

    :ivar reason: a short constant for logs and metrics.
    :ivar http_status: the status that an HTTP service usually answers with.
    :ivar retry_after: whole seconds to wait; None if waiting is not needed or does not help.
    """

    # RULE-ERROR-DATA

    reason: str = "error"
    http_status: int = 500
    retry_after: int | None = None
    _message_id = "unavailable"

    @property
    def message_id(self) -> str:
        """The stable id of ``claimant_message``, for translation."""
        return self._message_id

    @property
    def claimant_message(self) -> str:
        """The English text that the person at the page may see."""
        return CLAIMANT_MESSAGES[self.message_id].format(wait=self.retry_after or 0)


class InvalidValue(VmfaError, ValueError):
    """An argument has the right type and an invalid value; the text says which are valid."""

    reason = "invalid value"
    http_status = 400
    _message_id = "invalid"


class InvalidType(VmfaError, TypeError):
    """An argument has the wrong type; the text names the right one."""

    reason = "invalid type"
    http_status = 400
    _message_id = "invalid"


class MissingExtra(VmfaError, ImportError):
    """A feature needs an optional package; the text names the extra that installs it."""

    reason = "missing extra"


class CodeRejected(VmfaError):
    """A code, or a pair of codes, was not accepted.

    :ivar remedy: what helps: "retry", "wait", "resync", "replace" (an administrator replaces the
        device), "enroll" (start the enrollment again) or "reopen" (sign in from a known client,
        or have an administrator give a client token).
    """

    reason = "not accepted"
    http_status = 401
    remedy: Remedy = "retry"
    _message_id = "rejected"

    def __init__(
        self,
        message: str = "the code is not accepted",
        *,
        retry_after: int | None = None,
        remedy: Remedy | None = None,
    ) -> None:
        super().__init__(message)
        if retry_after is not None:
            self.retry_after = retry_after
        if remedy is not None:
            self.remedy = remedy

    @property
    def message_id(self) -> str:
        """The stable id of ``claimant_message``, for translation."""
        if self.remedy == "enroll":
            return "enrollment-ended"
        return "replace" if self.remedy == "replace" else self._message_id


class MalformedCode(CodeRejected, ValueError):
    """The text is not a code: it was not compared and not counted."""

    reason = "malformed"
    http_status = 400
    _message_id = "malformed"


class PairRejected(CodeRejected):
    """The two codes are not two fresh consecutive codes of this device, near enough to now."""

    reason = "pair not accepted"
    _message_id = "pair-rejected"


class AlreadyUsed(CodeRejected):
    """The code is right and was used before. It is not counted as a failure.

    :ivar next_at: the Unix time, in seconds, at which the next acceptable code begins.
    """

    reason = "already used"
    remedy: Remedy = "wait"

    def __init__(
        self,
        message: str = "the code was used before",
        *,
        retry_after: int = 0,
        next_at: int = 0,
        remedy: Remedy | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after, remedy=remedy)
        self.next_at = next_at

    @property
    def message_id(self) -> str:
        """The stable id of ``claimant_message``, for translation."""
        if self.remedy == "replace":
            return "replace"
        return "used-wait" if self.retry_after else "used-now"


class Throttled(CodeRejected):
    """Too many failures: this attempt was not evaluated (RFC 4226 section 7.3)."""

    reason = "throttled"
    http_status = 429
    remedy: Remedy = "wait"
    _message_id = "throttled"


class SignInClosed(CodeRejected):
    """The guess budget is used up, or clients without a token failed too often.

    The code was not evaluated. If ``retry_after`` is set, the budget allows another guess after
    that many seconds. Otherwise waiting does not help: the owner signs in from a known client and
    calls ``reopen()``, or an administrator gives a client token.
    """

    reason = "closed"
    http_status = 429
    remedy: Remedy = "reopen"
    _message_id = "closed"

    @property
    def message_id(self) -> str:
        """The stable id of ``claimant_message``, for translation."""
        return "throttled" if self.remedy == "wait" else super().message_id


class OutOfSync(CodeRejected):
    """The device is assigned, and its codes are not evaluated until it is resynchronized."""

    reason = "out of sync"
    remedy: Remedy = "resync"
    _message_id = "out-of-sync"


class DeviceDisabled(CodeRejected):
    """The device failed too often in a row. No code enables it again: replace it."""

    reason = "disabled"
    http_status = 403
    remedy: Remedy = "replace"


class RecoveryCodeRejected(CodeRejected):
    """The recovery code is not one of the principal's unused codes."""

    reason = "recovery code not accepted"


class AccessDenied(VmfaError):
    """This actor is not allowed to do this to this principal.

    :ivar missing: what the actor lacks: "mfa claim", "administrator", "recovery proof", "binding
        code", or "permission" if this actor can never be allowed to.
    """

    reason = "access denied"
    http_status = 403

    def __init__(self, message: str = "access denied", *, missing: Missing = "permission") -> None:
        super().__init__(message)
        self.missing: Missing = missing

    @property
    def message_id(self) -> str:
        """The stable id of ``claimant_message``, for translation."""
        return MESSAGES_OF_MISSING[self.missing]


class NoDevice(VmfaError):
    """The principal has no assigned device, or is unknown.

    ``claimant_message`` is that of a wrong code, so that a sign-in page does not show which it is.
    """

    reason = "no device"
    http_status = 404
    _message_id = "rejected"


class NoSession(VmfaError):
    """No such enrollment session is open: never opened, foreign, superseded, expired or closed."""

    reason = "no session"
    http_status = 404
    _message_id = "no-session"


class DeviceAlreadyAssigned(VmfaError):
    """The principal has a device already: deactivate it before enrolling another."""

    reason = "already assigned"
    http_status = 409
    _message_id = "already-assigned"


class TooManySessions(VmfaError):
    """No more enrollment sessions today: ``retry_after`` is in whole seconds."""

    reason = "too many sessions"
    http_status = 429
    _message_id = "too-many-sessions"

    def __init__(
        self, message: str = "too many enrollment sessions were opened", *, retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooSoon(VmfaError):
    """The operation is allowed once a day: ``retry_after`` is in whole seconds."""

    reason = "too soon"
    http_status = 429
    _message_id = "too-soon"

    def __init__(
        self, message: str = "this was done within the last day", *, retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ClockWentBack(VmfaError):
    """The verifier's clock is behind a time that was already committed. Nothing was counted."""

    reason = "clock went back"
    http_status = 503


class UnknownMasterKey(VmfaError):
    """A record or key needs a master key that this process does not have. Nothing was counted."""

    reason = "unknown master key"
    http_status = 503


class RandomnessFailed(VmfaError):
    """The random generator of the operating system failed or repeated itself. Nothing changed."""

    reason = "randomness failed"
    http_status = 503


class StoreError(VmfaError):
    """The store failed. No code was accepted."""

    reason = "store error"
    http_status = 503


class StoreContended(StoreError):
    """Other callers kept changing the principal, or kept the database locked. Try again."""

    reason = "store contended"


class StoreUnavailable(StoreError):
    """The database cannot be reached, opened or written. Nothing was changed."""

    reason = "store unavailable"


class OutcomeUnknown(StoreUnavailable):
    """The connection or the wait ended after the change was sent: it may have been committed.

    No code was accepted. A code that was sent may be spent, and a failure may have been counted.
    """

    reason = "outcome unknown"


class SchemaUntrusted(StoreError):
    """The tables have a trigger, rule, policy or column that vmfa did not create."""

    reason = "schema untrusted"


class StoreCorrupt(StoreError):
    """The database is damaged, or the file is not an SQLite database."""

    reason = "store corrupt"


class StoreTooNew(StoreError):
    """A newer version of vmfa wrote this; this version cannot read it.

    :ivar kind: "too new".
    :ivar number: the number of the event; None if it is the record.
    """

    reason = "store too new"
    kind = "too new"
    number: int | None = None


class RecordTampered(StoreError):
    """A stored record or event is not one that vmfa wrote for this principal.

    :ivar kind: what was done to it, as far as it shows: see ``docs/tampering.md``.
    :ivar number: the number of the first event that is not intact; None if it is the record.
    """

    reason = "record tampered"

    def __init__(
        self, message: str = "", *, kind: str = "record changed", number: int | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.number = number
