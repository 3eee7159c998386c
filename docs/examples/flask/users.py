"""What administrators do for other users, with a second factor of their own."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from flask import Blueprint, abort, redirect, request
from werkzeug.wrappers import Response

from vmfa import Actor, NoDevice

from ..service import mfa
from ..service.accounts import Session, User
from .security import recent_code_required
from .web import page, services, source

pages = Blueprint("users", __name__)
FOR_SET_UP = "{} needs this code, in person or by e-mail, to set up another phone."
FOR_SIGN_IN = "{} enters this token beside the code to sign in from an unknown browser."


def administrator(session: Session) -> Actor:
    """Return the actor, with the claim without which nothing is allowed on others."""
    if not session.user.is_admin:
        abort(403)
    return Actor.admin(mfa.principal_of(session.user), mfa=mfa.claim_of(session))


def other_user(session: Session, user_id: str) -> User:
    """Return the user that the administrator acts on."""
    user = services().accounts.user(user_id)
    if user is None or user.id == session.user.id:
        abort(404)
    return user


@pages.get("/users")
@recent_code_required
def users(session: Session) -> Response:
    administrator(session)
    return page("users.html", users=services().accounts.users())


@pages.post("/users/<user_id>/remove-device")
@recent_code_required
def remove_device(session: Session, user_id: str) -> Response:
    admin, user = administrator(session), other_user(session, user_id)
    removed = None
    with suppress(NoDevice):  # then only what this service recorded is put right
        removed = services().registry.deactivate(
            mfa.principal_of(user),
            by=admin,
            reason=request.form.get("reason", ""),
            source=source(),
        )
    services().accounts.set_device(user, False)
    services().accounts.end_sessions(user)
    if removed is None or removed.binding_code is None:
        return redirect("/users", 303)
    expires_at = removed.binding_code_expires_at
    return hand_over(FOR_SET_UP.format(user.email), removed.binding_code, expires_at)


@pages.post("/users/<user_id>/binding-code")
@recent_code_required
def binding_code(session: Session, user_id: str) -> Response:
    admin, user = administrator(session), other_user(session, user_id)
    issued = services().registry.issue_binding_code(
        mfa.principal_of(user), by=admin, source=source()
    )
    return hand_over(FOR_SET_UP.format(user.email), issued.code, issued.expires_at)


@pages.post("/users/<user_id>/client-token")
@recent_code_required
def client_token(session: Session, user_id: str) -> Response:
    admin, user = administrator(session), other_user(session, user_id)
    token = services().registry.give_client_token(
        mfa.principal_of(user), by=admin, source=source()
    )
    return hand_over(FOR_SIGN_IN.format(user.email), token.text, token.expires_at)


def hand_over(text: str, secret: str, expires_at: int) -> Response:
    """Return the page that shows a secret once, for the administrator to hand over."""
    return page(
        "hand_over.html",
        text=text,
        secret=secret,
        expires_at=datetime.fromtimestamp(expires_at, UTC).isoformat(),
    )
