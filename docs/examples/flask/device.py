"""Set up an authenticator app: the key is shown once, then two codes connect the phone."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import replace

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

from vmfa import AccessDenied, Actor, CodeRejected, NoSession, Sync, qr

from ..service import mfa
from ..service.accounts import Session
from .web import next_page, page, password_required, rejected, services, source

pages = Blueprint("device", __name__)


@pages.get("/device")
@password_required
def start_page(session: Session) -> Response:
    where = next_page(session.user)
    return start() if where == "/device" else redirect(where, 303)


@pages.post("/device/new")
@password_required
def new(session: Session) -> Response:
    user, accounts = session.user, services().accounts
    if next_page(user) != "/device":
        return redirect(next_page(user), 303)
    if not accounts.is_first_use(session, request.form.get("form", "")):
        return page("enroll.html", 409, enrollment=session.enrollment)  # the page was reloaded
    principal = mfa.principal_of(user)
    try:
        opened = services().registry.open_enrollment(
            principal,
            by=Actor.signed_in(principal),
            label=user.email,
            binding_code=request.form.get("binding_code") or None,
            source=source(),
        )
    except AccessDenied as error:
        if error.missing != "binding code":
            raise
        return start(
            "Your phone was removed by an administrator. Enter the code that you received.",
            status=error.http_status,
            binding_code=True,
        )
    # The session keeps the id and nothing else: the key is in this answer alone.
    accounts.save_session(replace(session, enrollment=opened.session_id))
    return page(
        "enroll.html",
        enrollment=opened.session_id,
        qr_code=qr.svg(opened.uri, scale=4),
        key=" ".join(opened.base32[i : i + 4] for i in range(0, len(opened.base32), 4)),
    )


@pages.post("/device/confirm")
@password_required
def confirm(session: Session) -> Response:
    user, accounts = session.user, services().accounts
    principal = mfa.principal_of(user)
    enrollment = request.form.get("enrollment", "")
    try:
        report = services().registry.confirm_enrollment(
            principal,
            session=enrollment,
            code1=request.form.get("code1", ""),
            code2=request.form.get("code2", ""),
            by=Actor.signed_in(principal),
            source=source(),
        )
    except NoSession as error:  # it expired, was started again, or is complete
        if next_page(user) == "/code":
            notice = "Your phone is connected. You can create new recovery codes after signing in."
            accounts.save_session(replace(session, notice=notice))
            return redirect("/code", 303)
        return start("This set-up is over. Start again.", status=error.http_status)
    except CodeRejected as error:
        if error.remedy == "enroll":  # that was the last attempt
            return start(error.claimant_message, status=error.http_status)
        return rejected("enroll.html", error, enrollment=enrollment)
    accounts.set_device(user, True)
    notice = "Your phone is connected. Sign in with the next code."
    accounts.save_session(replace(session, enrollment="", notice=notice))
    codes = report.recovery_codes
    return page(
        "recovery_codes.html",
        notice="Your phone is connected.",
        codes=codes.codes if codes else (),
        out_of_sync=report.sync is Sync.OUT_OF_SYNC,
        next="/code",
    )


@pages.post("/device/cancel")
@password_required
def cancel(session: Session) -> Response:
    principal = mfa.principal_of(session.user)
    with suppress(NoSession):
        services().registry.cancel_enrollment(
            principal, by=Actor.signed_in(principal), source=source()
        )
    return redirect("/device", 303)


def start(error: str = "", *, status: int = 200, binding_code: bool = False) -> Response:
    """Return the page with the button that opens an enrollment. Its form counts once."""
    return page(
        "device.html", status, error=error, form=secrets.token_hex(16), binding_code=binding_code
    )
