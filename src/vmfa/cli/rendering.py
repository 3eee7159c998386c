"""How principals, times, actors and events are written, for people and in JSON."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from shlex import quote

from ..events import AuditEvent
from ..history import is_redacted
from ..models import PrincipalId

TIMES = ("_at", "older_than")  # details whose names end like this are Unix times


def read_account(text: str) -> str:
    """Return the account that *text* names: ``%2F`` is a slash, ``%25`` a percent sign."""
    return text.replace("%2F", "/").replace("%25", "%")


def shell_quoted(principal: PrincipalId) -> str:
    """Return the command line arguments that name *principal*, quoted for a shell."""
    account = principal.account.replace("%", "%25").replace("/", "%2F")
    if principal.is_root:
        return f"--root {quote(account)}"
    return quote(f"{account}/{principal.name}")


def principal_data(principal: PrincipalId) -> dict[str, object]:
    """Return *principal* for JSON."""
    return {
        "account": principal.account, "kind": principal.kind.value, "name": principal.name,
    }


def event_data(event: AuditEvent) -> dict[str, object]:
    """Return *event* for JSON."""
    return {
        "number": event.number,
        "type": event.type.value,
        "at": event.at,
        "outcome": event.outcome.value,
        "actor": {
            "role": event.actor.role,
            "account": event.actor.account,
            "kind": event.actor.kind,
            "name": event.actor.name,
        },
        "serial": event.serial,
        "reason": event.reason,
        "source": event.source,
        "details": dict(event.details),
    }


def event_text(event: AuditEvent, *, utc: bool) -> str:
    """Return *event* as one line: number, time, type, actor, and the details in brackets."""
    if is_redacted(event):
        return f"{event.number}  {event.type}"
    details = {"reason": event.reason, "source": event.source}
    for name, value in event.details:
        details[name.replace("_", " ")] = _detail(name, value, utc=utc)
    more = "; ".join(f"{name}: {text}" for name, text in details.items() if text)
    line = f"{event.number}  {time_text(event.at, utc=utc)}  {event.type}  by {event.actor}"
    return f"{line}  ({more})" if more else line


def _detail(name: str, value: int | str, *, utc: bool) -> str:
    return (
        time_text(value, utc=utc)
        if isinstance(value, int) and name.endswith(TIMES)
        else str(value)
    )


def time_text(at: int, *, utc: bool) -> str:
    """Return the Unix time *at* in ISO 8601, in the time zone of the machine unless *utc*."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
        return (
            moment.isoformat().replace("+00:00", "Z") if utc else moment.astimezone().isoformat()
        )
    except (OverflowError, ValueError, OSError):  # past the calendar of Python or of the system
        return f"Unix time {at}"
