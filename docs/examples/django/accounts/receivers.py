"""What happens after each event of vmfa: a line in the log, and perhaps an e-mail to the user."""

from __future__ import annotations

import logging

from django.dispatch import receiver

from vmfa import AuditEvent, EventType
from vmfa.integrations.django.signals import audit_event

from .models import User

log = logging.getLogger("example")
NOTICES = {  # changes that another person could have made
    EventType.ASSIGNED: "An authenticator app was added to your account.",
    EventType.DEACTIVATED: "The authenticator app was removed from your account.",
    EventType.DISABLED: "Wrong codes disabled your authenticator app: change your password.",
    EventType.BUDGET_LOW: "Many wrong codes were entered for your account.",
    EventType.RECOVERY_CODES_REPLACED: "Your recovery codes were replaced.",
}


@receiver(audit_event)
def log_event(event: AuditEvent, **_: object) -> None:
    """Log an event. Events never contain a code or a key."""
    log.info(
        "%s: principal=%s actor=%s outcome=%s source=%s",
        event.type, event.principal, event.actor, event.outcome, event.source,
    )


@receiver(audit_event)
def notify_user(event: AuditEvent, **_: object) -> None:
    """Send an e-mail. If that fails, Django logs it, and the answer is the same."""
    notice = NOTICES.get(event.type)
    if notice is not None:
        user = User.objects.get(pk=event.principal.name)
        user.email_user("Your account at Example", notice)
