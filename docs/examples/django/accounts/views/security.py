"""The pages behind the second factor: the home page, and what users do about their own device."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from vmfa import AuditEvent, EventType
from vmfa.integrations.django.decorators import mfa_required
from vmfa.integrations.django.registry import get_registry
from vmfa.integrations.django.sessions import (
    actor_of,
    forget_claim,
    forget_client,
    principal_of,
    source_of,
)

from ..guards import user_of
from ..models import User

HISTORY_EVENTS = 10_000  # the most that one history is read
recent_code_required = mfa_required(max_age=settings.VMFA["POLICY"].claim_seconds)


@mfa_required
def home(request: HttpRequest) -> HttpResponse:
    """Welcome the user."""
    return render(request, "home.html")


@recent_code_required
def security(request: HttpRequest) -> HttpResponse:
    """Show the device and its history."""
    registry, principal = get_registry(), principal_of(request.user)
    me, source = actor_of(request), source_of(request)
    device = registry.device(principal, by=me, source=source)
    events = registry.history(principal, by=me, limit=HISTORY_EVENTS, source=source)
    emails = {str(user.pk): user.email for user in User.objects.all()}
    return render(request, "security.html", {
        "device": device,
        "enrolled_at": datetime.fromtimestamp(device.enrolled_at, UTC),
        "history": [
            {
                "at": datetime.fromtimestamp(event.at, UTC),
                "what": event.type.capitalize(),
                "actor": name_of_actor(event, user_of(request), emails),
                "source": event.source,
            }
            for event in reversed(events)
            if event.type is not EventType.REDACTED
        ],
    })


@require_POST
@recent_code_required
def recovery_codes(request: HttpRequest) -> HttpResponse:
    """Show new recovery codes."""
    codes = get_registry().replace_recovery_codes(
        principal_of(request.user), by=actor_of(request), source=source_of(request)
    )
    return render(request, "recovery_codes.html", {"codes": codes.codes, "next": "security"})


@require_POST
@recent_code_required
def remove_device(request: HttpRequest) -> HttpResponseBase:
    """Remove a phone that still works, so that the user can set up another one."""
    user = user_of(request)
    get_registry().deactivate(
        principal_of(user), by=actor_of(request), reason="replaced", source=source_of(request)
    )
    user.record_device(False)
    forget_claim(request)
    user.end_sessions(except_for=request.session.session_key)
    messages.success(request, "The phone was removed. Set up the new one now.")
    return redirect("device")


@require_POST
@recent_code_required
def sign_out_everywhere(request: HttpRequest) -> HttpResponseBase:
    """End all sessions of the user. Every browser counts as unknown from now on."""
    user, principal = user_of(request), principal_of(request.user)
    get_registry().forget_clients(
        principal, by=actor_of(request), source=source_of(request)
    )
    user.end_sessions()
    logout(request)
    response = redirect("sign-in")
    forget_client(response, principal)
    return response


@require_POST
@recent_code_required
def reopen(request: HttpRequest) -> HttpResponseBase:
    """Accept codes from unknown browsers again."""
    get_registry().reopen(
        principal_of(request.user), by=actor_of(request), source=source_of(request)
    )
    return redirect("security")


def name_of_actor(event: AuditEvent, reader: User, emails: dict[str, str]) -> str:
    """Return who did it, as the reader knows them."""
    actor = event.actor
    if actor.name == str(reader.pk):
        return "you"
    if actor.kind:
        return f"{actor.role} {emails.get(actor.name, actor.name)}"
    return f"{actor.role} {actor.name}".rstrip()
