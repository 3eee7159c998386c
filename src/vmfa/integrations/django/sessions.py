"""The principal of a user, and the claim of a second factor in the session."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse

from ...access import Actor
from ...errors import InvalidType, InvalidValue
from ...models import MfaClaim, PrincipalId, Receipt
from .registry import get_configuration, get_registry

CLAIM_KEY: Final = "vmfa_claim"
CLIENT_COOKIE: Final = "vmfa_client"


def principal_of(user: Any) -> PrincipalId:
    """Return the principal of a signed-in *user*: the user with their primary key as name.

    ``VMFA["PRINCIPAL"]`` replaces this rule.

    :raises InvalidType: the user is anonymous or was never saved.
    """
    if user.pk is None or not user.is_authenticated:
        raise InvalidType("a principal needs a signed-in user: sign in with the first factor")
    return get_configuration().principal(user)


def remember_claim(request: HttpRequest, claim: MfaClaim) -> None:
    """Keep *claim* in the session, which gets a new id."""
    request.session.cycle_key()
    request.session[CLAIM_KEY] = claim.to_dict()


def claim_of(request: HttpRequest) -> MfaClaim | None:
    """Return the claim in the session; None if there is none."""
    try:
        return MfaClaim.from_dict(request.session.get(CLAIM_KEY))
    except InvalidValue:
        return None


def has_mfa(request: HttpRequest, *, max_age: int | None = None) -> bool:
    """Return whether the session has a valid claim of the signed-in user.

    :param max_age: the largest age in seconds; None for no limit.
    """
    claim = claim_of(request)
    return claim is not None and get_registry().claim_is_valid(
        principal_of(request.user), claim, max_age=max_age
    )


def actor_of(request: HttpRequest, *, admin: bool = False) -> Actor:
    """Return the signed-in user as an actor, with the claim in the session.

    :param admin: whether your application knows that the user administers the account.
    """
    principal, claim = principal_of(request.user), claim_of(request)
    if admin:
        return Actor.admin(principal, mfa=claim)
    return Actor.signed_in(principal, mfa=claim)


def source_of(request: HttpRequest) -> str:
    """Return the address that the request comes from, for the events."""
    return str(request.META.get("REMOTE_ADDR") or "")


def client_of(request: HttpRequest) -> str | None:
    """Return the token of a known client from its cookie."""
    return request.COOKIES.get(CLIENT_COOKIE)


def remember_client(response: HttpResponse, receipt: Receipt) -> None:
    """Set the cookie of a known client, if the policy has known clients."""
    token = receipt.client_token
    if token is not None:
        seconds = token.expires_at - receipt.at
        response.set_cookie(
            CLIENT_COOKIE, token.text, max_age=seconds, secure=True, httponly=True, samesite="Lax"
        )
