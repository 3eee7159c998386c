"""The clauses that the cases check: where each stands, and what it says in short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["CLAUSES", "Clause"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One clause.

    :param id: its id in the reports.
    :param source: the document and the section.
    :param says: a summary.
    """

    id: str
    source: str
    says: str


def _rows(document: str, *rows: tuple[str, str, str]) -> dict[str, Clause]:
    return {
        id_: Clause(id=id_, source=f"{document}, {section}" if section else document, says=says)
        for id_, section, says in rows
    }


CLAUSES: Final[dict[str, Clause]] = {
    **_rows(
        "RFC 4226",
        ("RFC4226-4-R6", "section 4", "The shared secret has at least 128 bits."),
        ("RFC4226-5.1-C", "section 5.1", "The moving factor is an 8-byte counter."),
        ("RFC4226-5.3-DT", "section 5.3", "The offset is in the last byte of the MAC."),
        ("RFC4226-5.3-DIGITS", "section 5.3", "Codes have six digits, possibly seven or eight."),
        ("RFC4226-7.1-RP2", "section 7.1", "Throttling or lock-out limits guessing."),
        ("RFC4226-7.2-VALID", "section 7.2", "A right code within the window is accepted."),
        ("RFC4226-7.2-LOCK", "section 7.2", "After too many attempts, the account is locked."),
        ("RFC4226-7.3-T", "section 7.3", "Failures are limited per device, as low as usable."),
        ("RFC4226-7.3-XSESSION", "section 7.3", "The limit holds across login sessions."),
        ("RFC4226-7.4-S", "section 7.4", "The look-ahead window is as low as possible."),
        ("RFC4226-7.4-SEQ", "section 7.4", "Resynchronization takes several codes."),
        ("RFC4226-E4-RCP", "appendix E.4", "Only counters from the expected one on are accepted."),
    ),
    **_rows(
        "RFC 6238",
        ("RFC6238-1.2-HASH", "section 1.2", "HMAC-SHA-256 and HMAC-SHA-512 may be used."),
        ("RFC6238-3-R3", "section 3", "TOTP is HOTP of the time step."),
        ("RFC6238-3-R4", "section 3", "Both sides use the same time step."),
        ("RFC6238-3-R5", "section 3", "Each prover has its own secret."),
        ("RFC6238-4.2-FLOOR", "section 4.2", "The step is the floor of time by period."),
        ("RFC6238-4.2-WIDE", "section 4.2", "Times beyond 32 bits are supported."),
        ("RFC6238-5.1-STORE", "section 5.1", "Keys are stored encrypted."),
        ("RFC6238-5.2-PAST", "section 5.2", "Past steps within the delay are accepted."),
        ("RFC6238-5.2-ONESTEP", "section 5.2", "The network delay is at most one step."),
        ("RFC6238-5.2-ONCE", "section 5.2", "A code is not accepted a second time."),
        ("RFC6238-6-LIMIT", "section 6", "The steps out of sync are limited in both directions."),
        ("RFC6238-6-DRIFT", "section 6", "The recorded drift is applied."),
    ),
    **_rows(
        "NIST SP 800-63B-4",
        ("SP80063B-3.1.4.2-ONCE", "section 3.1.4.2", "A code is accepted only once."),
        ("SP80063B-3.1.4.2-RATE", "section 3.1.4.2", "Attempts are throttled."),
        ("SP80063B-3.2.2-CAP", "section 3.2.2", "At most 100 consecutive failures."),
        ("SP80063B-4.3-LOST", "section 4.3", "A lost authenticator is invalidated promptly."),
    ),
    **_rows(
        "OWASP ASVS 5.0",
        ("ASVS5-6.1.1", "6.1.1", "Malicious lock-out is prevented."),
        ("ASVS5-6.3.1", "6.3.1", "Brute force is prevented."),
        ("ASVS5-6.3.4", "6.3.4", "All ways to sign in have the same controls."),
        ("ASVS5-6.3.8", "6.3.8", "Answers, and their time, reveal nothing about users."),
        ("ASVS5-6.4.1", "6.4.1", "Activation codes expire."),
        ("ASVS5-6.5.1", "6.5.1", "A code is accepted only once."),
        ("ASVS5-6.5.6", "6.5.6", "Any factor can be revoked."),
        ("ASVS5-7.4.3", "7.4.3", "Sessions can be ended after a factor was removed."),
        ("ASVS5-7.5.1", "7.5.1", "Changing a factor requires a full authentication."),
        ("ASVS5-16.2.5", "16.2.5", "No log entry contains a credential."),
        ("ASVS5-16.5.1", "16.5.1", "Errors reveal nothing sensitive."),
        ("ASVS5-16.5.3", "16.5.3", "An error never lets anyone in."),
    ),
    **_rows(
        "Key URI format",
        ("KEYURI-READ", "", "Ambiguous and invalid key URIs are rejected."),
    ),
    **_rows(
        "AWS IAM User Guide",
        ("SEED-TWO", "", "Two consecutive codes, in order, assign a device."),
        ("SEED-SIX", "", "A code is a string of ASCII digits."),
        ("SEED-SHOW", "", "The key is shown once."),
        ("SEED-ONE", "", "A user has at most one assigned device."),
        ("SEED-ROTATE", "", "The codes of a removed device are never valid again."),
        ("SEED-BOUND", "", "An enrollment and a key belong to one user."),
    ),
    **_rows(
        "Defense in depth",
        ("RULE-MONOTONE", "", "The last used step never decreases."),
        ("RULE-SPENT", "", "The codes of an enrollment or resynchronization are used."),
        ("RULE-CLOCK", "", "A clock that goes back accepts no used code."),
        ("RULE-DRIFT", "", "Sign-ins move the accepted window by a few steps at most."),
        ("RULE-BUDGET", "", "The guesses of an attacker are limited over the life of a device."),
        ("RULE-THROTTLE", "", "Parallel guesses are limited like successive ones."),
        ("RULE-DISABLED", "", "Codes do not enable a device that failed too often."),
        ("RULE-ABANDONED", "", "An enrollment ends by time, attempts or a new one."),
        ("RULE-RECORD", "", "A copied or edited row is not accepted."),
        ("RULE-READS", "", "Malformed input changes nothing."),
        ("RULE-PRINCIPAL", "", "Two spellings of one name are not two users."),
        ("RULE-ADMIN", "", "The password of an administrator alone removes no device."),
    ),
}  # fmt: skip
"""The clauses by id."""
