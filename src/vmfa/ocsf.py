"""Audit events in the Open Cybersecurity Schema Framework (OCSF), for a SIEM.

Sign-ins are events of the class Authentication (3002), everything else of the class Account
Change (3001). What these classes have no activity for is the activity Other (99), with the type
of the event as its name. The type is always in ``metadata.event_code`` as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Final

from .events import AuditEvent, EventActor, EventType, Outcome
from .installation import vmfa_version
from .models import Kind, PrincipalId

__all__ = ["SCHEMA_VERSION", "ocsf_event", "ocsf_line"]

SCHEMA_VERSION: Final = "1.8.0"  # of OCSF
MILLISECONDS: Final = 1000  # times of OCSF
TAMPERED: Final = "record tampered"  # the reason of an error

CATEGORY_UID, CATEGORY_NAME = 3, "Identity & Access Management"
CLASS_NAMES: Final = {3001: "Account Change", 3002: "Authentication"}
ACCOUNT_CHANGE, AUTHENTICATION = CLASS_NAMES
OTHER: Final = 99
SEVERITIES: Final = {1: "Informational", 2: "Low", 3: "Medium", 5: "Critical"}
STATUSES: Final = {0: "Unknown", 1: "Success", 2: "Failure"}


@dataclass(frozen=True, slots=True)
class Activity:
    """An activity of OCSF, which is the meaning of an event."""

    class_uid: int
    activity_id: int = OTHER
    name: str = "Other"


OTHER_CHANGE: Final = Activity(ACCOUNT_CHANGE)
LOGON: Final = Activity(AUTHENTICATION, 1, "Logon")
ENABLE: Final = Activity(ACCOUNT_CHANGE, 10, "MFA Factor Enable")
DISABLE: Final = Activity(ACCOUNT_CHANGE, 11, "MFA Factor Disable")
ACTIVITIES: Final = {  # all others are OTHER_CHANGE
    EventType.ACCEPTED: LOGON,
    EventType.REJECTED: LOGON,
    EventType.RECOVERY_REJECTED: Activity(AUTHENTICATION),
    EventType.DRIFT_CHANGED: Activity(AUTHENTICATION),
    EventType.ASSIGNED: ENABLE,
    EventType.ADOPTED: ENABLE,
    EventType.DISABLED: DISABLE,
    EventType.DEACTIVATED: DISABLE,
    EventType.REOPENED: Activity(ACCOUNT_CHANGE, 12, "Unlock"),
}


def ocsf_event(event: AuditEvent, *, service: str = "vmfa") -> dict[str, object]:
    """Return an event as the fields of OCSF. It contains no key and no code.

    ``unmapped`` has what OCSF has no field for, such as the role of the actor and the digest of
    the history.

    :param service: the name of your service, which the user signs in to.
    """
    activity = ACTIVITIES.get(event.type, OTHER_CHANGE)
    class_uid, class_name = activity.class_uid, CLASS_NAMES[activity.class_uid]
    status_id, severity_id = _status(event), _severity(event)
    fields: dict[str, object] = {
        "metadata": {
            "version": SCHEMA_VERSION,
            "product": {
                "name": "vmfa", "vendor_name": "vmfa", "version": _version(),
            },
            "event_code": event.type.value,
            "sequence": event.number,
        },
        "category_uid": CATEGORY_UID,
        "category_name": CATEGORY_NAME,
        "class_uid": class_uid,
        "class_name": class_name,
        "activity_id": activity.activity_id,
        "activity_name": event.type.value if activity.activity_id == OTHER else activity.name,
        "type_uid": class_uid * 100 + activity.activity_id,
        "type_name": f"{class_name}: {activity.name}",
        "time": event.at * MILLISECONDS,
        "severity_id": severity_id,
        "severity": SEVERITIES[severity_id],
        "status_id": status_id,
        "status": STATUSES[status_id],
        "user": _user(event.principal),
        "message": f"{event.type.value}: {event.principal} by {event.actor}",
    }
    if event.reason:
        fields["status_detail"] = event.reason
    if event.type is not EventType.REDACTED:
        fields["actor"] = _actor(event.actor)
    if event.source:
        fields["src_endpoint"] = _endpoint(event.source)
    if event.serial:
        fields["auth_factors"] = [
            {
                "factor_type_id": 7,
                "factor_type": "OTP",
                "is_totp": True,
                "device": {"uid": event.serial, "type_id": 0, "type": "Unknown"},
            }
        ]
    if class_uid == AUTHENTICATION:
        fields |= {"is_mfa": True, "service": {"name": service}}
    fields["unmapped"] = {
        "role": event.actor.role, "digest": event.digest, "details": dict(event.details),
    }
    return fields


def ocsf_line(event: AuditEvent, *, service: str = "vmfa") -> str:
    """Return :func:`ocsf_event` as one line of JSON.

    :param service: the name of your service, which the user signs in to.
    """
    return json.dumps(ocsf_event(event, service=service), separators=(",", ":"))


@cache
def _version() -> str:
    return vmfa_version()  # slow to look up


def _status(event: AuditEvent) -> int:
    if event.type is EventType.REDACTED:
        return 0
    return 1 if event.outcome is Outcome.SUCCESS else 2


def _severity(event: AuditEvent) -> int:
    if event.reason == TAMPERED:
        return 5
    if event.type in (EventType.DISABLED, EventType.BUDGET_LOW):
        return 3
    return 2 if event.outcome is Outcome.FAILURE else 1


def _user(principal: PrincipalId) -> dict[str, object]:
    """Return a person. The uid is the complete id: a name is only unique in its account."""
    return {
        "uid": str(principal),
        "name": principal.name or "root",
        "type_id": 2 if principal.is_root else 1,
        "type": "Admin" if principal.is_root else "User",
        "account": {"uid": principal.account},
    }


def _actor(actor: EventActor) -> dict[str, object]:
    if actor.account:
        person = PrincipalId(account=actor.account, kind=Kind(actor.kind), name=actor.name)
        return {"user": _user(person)}
    if actor.role == "support":
        return {"user": {"name": actor.name, "type_id": OTHER, "type": "support case"}}
    return {"app_name": actor.name or actor.role}


def _endpoint(source: str) -> dict[str, str]:
    """Return where a request came from: an address, or the text that the service stated."""
    try:
        return {"ip": str(ip_address(source))}
    except ValueError:
        return {"name": source}
