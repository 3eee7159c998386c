"""The pages behind the second factor: the home page, and what users do about their own device."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, redirect
from werkzeug.wrappers import Response

from ..service import mfa
from ..service.accounts import Session
from .web import actor_of, client_cookie, mfa_required, page, services, set_session_cookie, source

pages = Blueprint("security", __name__)
recent_code_required = mfa_required(max_age=mfa.POLICY.claim_seconds)


@pages.get("/")
@mfa_required()
def home(_session: Session) -> Response:
    return page("home.html")


@pages.get("/security")
@recent_code_required
def security(session: Session) -> Response:
    registry, accounts = services().registry, services().accounts
    principal, me = mfa.principal_of(session.user), actor_of(session)
    device = registry.device(principal, by=me, source=source())
    events = registry.history(principal, by=me, limit=mfa.HISTORY_EVENTS, source=source())
    emails = {user.id: user.email for user in accounts.users()}
    return page(
        "security.html",
        device=device,
        enrolled_at=datetime.fromtimestamp(device.enrolled_at, UTC).isoformat(),
        history=mfa.history_rows(events, session.user, emails),
    )


@pages.post("/security/recovery-codes")
@recent_code_required
def recovery_codes(session: Session) -> Response:
    codes = services().registry.replace_recovery_codes(
        mfa.principal_of(session.user), by=actor_of(session), source=source()
    )
    return page("recovery_codes.html", codes=codes.codes, next="/security")


@pages.post("/security/remove-device")
@recent_code_required
def remove_device(session: Session) -> Response:
    user, accounts = session.user, services().accounts
    services().registry.deactivate(
        mfa.principal_of(user), by=actor_of(session), reason="replaced", source=source()
    )
    accounts.set_device(user, False)
    notice = "The phone was removed. Set up the new one now."
    token = accounts.renew_session(session, claim=None, notice=notice)
    accounts.end_sessions(user, except_for=token)
    return set_session_cookie(redirect("/device", 303), token)


@pages.post("/security/sign-out-everywhere")
@recent_code_required
def sign_out_everywhere(session: Session) -> Response:
    services().registry.forget_clients(
        mfa.principal_of(session.user), by=actor_of(session), source=source()
    )
    services().accounts.end_sessions(session.user)
    response = redirect("/sign-in", 303)
    for name in (mfa.SESSION_COOKIE, client_cookie(session.user)):
        response.delete_cookie(name, secure=True, httponly=True, samesite="Lax")
    return response


@pages.post("/security/reopen")
@recent_code_required
def reopen(session: Session) -> Response:
    services().registry.reopen(
        mfa.principal_of(session.user), by=actor_of(session), source=source()
    )
    return redirect("/security", 303)
