"""What both applications say to vmfa, and show of it, in the same way."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from vmfa import AuditEvent, DerivedKeys, EventType, InvalidValue, MfaClaim, Policy, PrincipalId

from .accounts import Session, User

ACCOUNT = "main"  # this service has one tenant
POLICY = Policy(known_clients=True, recovery_codes=10)
MAX_FORM_BYTES = 16 * 1024
FORMS_OF_AN_ADDRESS = 60, 60  # a number of requests, in seconds
PASSWORDS_OF_A_USER = 10, 60
OLD_PAGE = "You signed in or out in the meantime. Nothing was changed. Open the page again."
HISTORY_EVENTS = 10_000  # the most that one history is read
CLIENT_COOKIE = "__Host-client-"  # followed by a hash of the user's id
SESSION_COOKIE = "__Host-session"
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
log = logging.getLogger("example")


def load_keys() -> DerivedKeys:
    """Return the master key of ``VMFA_MASTER_KEY``, or of the file ``VMFA_KEY_FILE``."""
    if "VMFA_MASTER_KEY" in os.environ:
        return DerivedKeys.from_env("VMFA_MASTER_KEY")
    return DerivedKeys.from_file(os.environ.get("VMFA_KEY_FILE", "master.key"))


def principal_of(user: User) -> PrincipalId:
    """Return the principal of *user*: by the id that never changes, not by the e-mail address."""
    return PrincipalId.user(ACCOUNT, user.id)


def claim_of(session: Session) -> MfaClaim | None:
    """Return the claim in a session, or None if there is none that can be read."""
    try:
        return MfaClaim.from_dict(session.claim)
    except InvalidValue:
        return None


NOTICES = {
    EventType.ASSIGNED: "An authenticator app was added to your account.",
    EventType.DEACTIVATED: "The authenticator app was removed from your account.",
    EventType.DISABLED: "Wrong codes disabled your authenticator app: change your password.",
    EventType.BUDGET_LOW: "Many wrong codes were entered for your account.",
    EventType.RECOVERY_CODES_REPLACED: "Your recovery codes were replaced.",
}


def observe(event: AuditEvent) -> None:
    """Log an event, and notify the user of a change that another person could have made."""
    log.info(
        "%s: principal=%s actor=%s outcome=%s source=%s",
        event.type,
        event.principal,
        event.actor,
        event.outcome,
        event.source,
    )
    if event.type in NOTICES:  # here your service sends an e-mail
        log.warning("notify user %s: %s", event.principal.name, NOTICES[event.type])


@dataclass(frozen=True)
class HistoryRow:
    """One event as a page shows it. ``at`` is in ISO 8601; the page shows it in local time."""

    at: str
    what: str
    actor: str
    source: str


def history_rows(
    events: Iterable[AuditEvent], reader: User, emails: Mapping[str, str]
) -> list[HistoryRow]:
    """Return *events* for a page, the newest first.

    :param reader: the user who reads the page.
    :param emails: the e-mail addresses of the users, by their ids.
    """
    return [
        HistoryRow(
            at=datetime.fromtimestamp(event.at, UTC).isoformat(),
            what=event.type.capitalize(),
            actor=_name_of(event, reader, emails),
            source=event.source,
        )
        for event in reversed(list(events))
        if event.type is not EventType.REDACTED
    ]


def _name_of(event: AuditEvent, reader: User, emails: Mapping[str, str]) -> str:
    actor = event.actor
    if actor.name == reader.id:
        return "you"
    if actor.kind:
        return f"{actor.role} {emails.get(actor.name, actor.name)}"
    return f"{actor.role} {actor.name}".rstrip()
