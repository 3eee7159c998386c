"""What administrators do for other users, with a second factor of their own."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from vmfa import Actor, NoDevice
from vmfa.integrations.django.registry import get_configuration, get_registry
from vmfa.integrations.django.sessions import actor_of, principal_of, source_of

from ..guards import user_of
from ..models import User
from .security import recent_code_required

FOR_SET_UP = "{} needs this code, in person or by e-mail, to set up another phone."
FOR_SIGN_IN = "{} enters this token beside the code to sign in from an unknown browser."


def administrator(request: HttpRequest) -> Actor:
    """Return the actor, with the claim without which nothing is allowed on others."""
    if not user_of(request).is_staff:
        raise PermissionDenied
    return actor_of(request, admin=True)


def other_user(request: HttpRequest, user_id: UUID) -> User:
    """Return the user that the administrator acts on."""
    if user_id == user_of(request).pk:
        raise Http404
    return get_object_or_404(User, pk=user_id)


@recent_code_required
def users(request: HttpRequest) -> HttpResponse:
    """Show the other users."""
    administrator(request)
    others = User.objects.exclude(pk=user_of(request).pk).order_by("email")
    return render(request, "users.html", {"others": others})


@require_POST
@recent_code_required
def remove_device(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    """Remove a lost phone."""
    admin, user = administrator(request), other_user(request, user_id)
    removed = None
    with suppress(NoDevice):  # then only what this service recorded is put right
        removed = get_registry().deactivate(
            principal_of(user), by=admin, reason=request.POST.get("reason", ""),
            source=source_of(request),
        )
    user.record_device(False)
    user.end_sessions()
    if removed is None or removed.binding_code is None:
        return redirect("users")
    expires_at = removed.at + get_configuration().policy.binding_code_seconds
    return hand_over(request, FOR_SET_UP.format(user.email), removed.binding_code, expires_at)


@require_POST
@recent_code_required
def binding_code(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    """Issue a new code for the set-up."""
    admin, user = administrator(request), other_user(request, user_id)
    issued = get_registry().issue_binding_code(
        principal_of(user), by=admin, source=source_of(request)
    )
    return hand_over(request, FOR_SET_UP.format(user.email), issued.code, issued.expires_at)


@require_POST
@recent_code_required
def client_token(request: HttpRequest, user_id: UUID) -> HttpResponseBase:
    """Give a token for one sign-in."""
    admin, user = administrator(request), other_user(request, user_id)
    token = get_registry().give_client_token(
        principal_of(user), by=admin, source=source_of(request)
    )
    return hand_over(request, FOR_SIGN_IN.format(user.email), token.text, token.expires_at)


def hand_over(request: HttpRequest, text: str, secret: str, expires_at: int) -> HttpResponse:
    """Return the page that shows a secret once, for the administrator to hand over."""
    return render(request, "hand_over.html", {
        "text": text, "secret": secret, "expires_at": datetime.fromtimestamp(expires_at, UTC),
    })
