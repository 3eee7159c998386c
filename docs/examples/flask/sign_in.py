"""Sign in: the password, the code, resynchronization, and a lost phone."""

from __future__ import annotations

from dataclasses import replace

from flask import Blueprint, g, redirect, request
from werkzeug.wrappers import Response

from vmfa import Actor, CodeRejected, NoDevice

from ..service import mfa
from ..service.accounts import Session
from .web import (
    actor_of,
    client_cookie,
    next_page,
    page,
    password_required,
    rejected,
    services,
    set_client_cookie,
    set_session_cookie,
    source,
)

pages = Blueprint("sign_in", __name__)


@pages.get("/sign-in")
def sign_in_page() -> Response:
    notice = "Your session has ended. Sign in again." if "ended" in request.args else None
    return page("sign_in.html", notice=notice)


@pages.post("/sign-in")
def sign_in() -> Response:
    email, password = request.form.get("email", ""), request.form.get("password", "")
    wait = services().passwords.wait(email.strip().lower())
    if wait:
        error = f"Too many attempts. Try again in {wait} seconds."
        return page("sign_in.html", 429, wait=wait, error=error)
    user = services().accounts.check_password(email, password)
    if user is None:
        return page("sign_in.html", 401, error="The e-mail address or the password is wrong.")
    response = redirect(next_page(user), 303)
    # A new token after each factor: what the browser had before is worthless.
    token = services().accounts.start_session(user, replaced=g.token)
    return set_session_cookie(response, token)


@pages.post("/sign-out")
def sign_out() -> Response:
    services().accounts.end_session(g.token)
    response = redirect("/sign-in", 303)
    response.delete_cookie(mfa.SESSION_COOKIE, secure=True, httponly=True, samesite="Lax")
    return response


@pages.get("/code")
@password_required
def code_page(session: Session) -> Response:
    where = next_page(session.user)
    return page("code.html") if where == "/code" else redirect(where, 303)


@pages.post("/code")
@password_required
def code(session: Session) -> Response:
    user, accounts = session.user, services().accounts
    client = request.form.get("client_token") or request.cookies.get(client_cookie(user))
    try:
        receipt = services().registry.verify(
            mfa.principal_of(user), request.form.get("code", ""), client=client, source=source()
        )
    except NoDevice:  # it was removed in the meantime
        return redirect(next_page(user), 303)
    except CodeRejected as error:
        return rejected("code.html", error)
    accounts.set_device(user, True)
    token = accounts.renew_session(session, claim=receipt.claim.to_dict())
    response = redirect(session.return_to or "/", 303)
    set_client_cookie(response, user, receipt.client_token)
    return set_session_cookie(response, token)


@pages.get("/resync")
@password_required
def resync_page(session: Session) -> Response:
    where = next_page(session.user)
    return page("resync.html") if where == "/code" else redirect(where, 303)


@pages.post("/resync")
@password_required
def resync(session: Session) -> Response:
    try:
        services().registry.resync(
            mfa.principal_of(session.user),
            code1=request.form.get("code1", ""),
            code2=request.form.get("code2", ""),
            by=actor_of(session),
            client=request.cookies.get(client_cookie(session.user)),
            source=source(),
        )
    except NoDevice:
        return redirect(next_page(session.user), 303)
    except CodeRejected as error:
        return rejected("resync.html", error)
    notice = "The app is in sync again. Sign in with the next code."
    services().accounts.save_session(replace(session, notice=notice))
    return redirect("/code", 303)


@pages.get("/recover")
@password_required
def recover_page(session: Session) -> Response:
    where = next_page(session.user)
    return page("recover.html") if where == "/code" else redirect(where, 303)


@pages.post("/recover")
@password_required
def recover(session: Session) -> Response:
    user, accounts = session.user, services().accounts
    principal = mfa.principal_of(user)
    actor = Actor.with_recovery_code(principal, request.form.get("recovery_code", ""))
    try:
        services().registry.deactivate(
            principal, by=actor, reason="recovery code", source=source()
        )
    except NoDevice:
        return redirect(next_page(user), 303)
    except CodeRejected as error:
        return rejected("recover.html", error)
    accounts.set_device(user, False)
    notice = "The lost phone was removed. Set up another one now."
    token = accounts.renew_session(session, claim=None, notice=notice)
    accounts.end_sessions(user, except_for=token)
    return set_session_cookie(redirect("/device", 303), token)
