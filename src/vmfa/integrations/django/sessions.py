"""The principal of a user, and the claim of a second factor in the session."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponseBase
from django.utils.crypto import salted_hmac

from ...access import Actor
from ...errors import InvalidType, InvalidValue
from ...models import MfaClaim, PrincipalId, Receipt
from .registry import get_configuration, get_registry

CLAIM_KEY: Final = "vmfa_claim"
CLIENT_COOKIE: Final = "__Host-vmfa-client-"  # followed by a hash of the principal


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


def forget_claim(request: HttpRequest) -> None:
    """Remove the claim from the session, which gets a new id."""
    request.session.cycle_key()
    request.session.pop(CLAIM_KEY, None)


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


def client_cookie(principal: PrincipalId) -> str:
    """Return the name of the cookie that makes a browser a known client of *principal*.

    A browser has one for each user. The name shows nothing about the user.
    """
    digest = salted_hmac("vmfa.client", str(principal), algorithm="sha256").hexdigest()
    return CLIENT_COOKIE + digest[:32]


def client_of(request: HttpRequest) -> str | None:
    """Return the token of a known client of the signed-in user, from its cookie."""
    return request.COOKIES.get(client_cookie(principal_of(request.user)))


def remember_client(response: HttpResponseBase, receipt: Receipt) -> None:
    """Make the browser a known client of the user, if the policy has known clients."""
    token = receipt.client_token
    if token is not None:
        response.set_cookie(
            client_cookie(receipt.principal), token.text, max_age=token.expires_at - receipt.at,
            secure=True, httponly=True, samesite="Lax",
        )


def forget_client(response: HttpResponseBase, principal: PrincipalId) -> None:
    """Delete the cookie that makes the browser a known client of *principal*."""
    response.delete_cookie(client_cookie(principal), samesite="Lax")
