"""Set up an authenticator app: the key is shown once, then two codes connect the phone."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import replace

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from vmfa import AccessDenied, Actor, CodeRejected, NoSession, Sync, qr

from ..service import mfa
from .web import (
    Field,
    PasswordSession,
    ServicesNeeded,
    next_page,
    page,
    redirect,
    rejected,
    source,
)

pages = APIRouter()


@pages.get("/device")
async def start_page(
    request: Request, services: ServicesNeeded, session: PasswordSession
) -> Response:
    where = await next_page(services, session.user)
    return await start(request) if where == "/device" else redirect(where)


@pages.post("/device/new")
async def new(
    request: Request,
    services: ServicesNeeded,
    session: PasswordSession,
    form: Field = "",
    binding_code: Field = "",
) -> Response:
    user, accounts = session.user, services.accounts
    where = await next_page(services, user)
    if where != "/device":
        return redirect(where)
    if not await run_in_threadpool(accounts.is_first_use, session, form):
        # The page was reloaded.
        return await page(request, "enroll.html", 409, enrollment=session.enrollment)
    principal = mfa.principal_of(user)
    try:
        opened = await services.registry.open_enrollment(
            principal,
            by=Actor.signed_in(principal),
            label=user.email,
            binding_code=binding_code or None,
            source=source(request),
        )
    except AccessDenied as error:
        if error.missing != "binding code":
            raise
        text = "Your phone was removed by an administrator. Enter the code that you received."
        return await start(request, text, status=error.http_status, binding_code=True)
    # The session keeps the id and nothing else: the key is in this answer alone.
    await run_in_threadpool(accounts.save_session, replace(session, enrollment=opened.session_id))
    return await page(
        request,
        "enroll.html",
        enrollment=opened.session_id,
        qr_code=qr.svg(opened.uri, scale=4),
        key=" ".join(opened.base32[i : i + 4] for i in range(0, len(opened.base32), 4)),
    )


@pages.post("/device/confirm")
async def confirm(
    request: Request,
    services: ServicesNeeded,
    session: PasswordSession,
    enrollment: Field = "",
    code1: Field = "",
    code2: Field = "",
) -> Response:
    user, accounts = session.user, services.accounts
    principal = mfa.principal_of(user)
    try:
        report = await services.registry.confirm_enrollment(
            principal,
            session=enrollment,
            code1=code1,
            code2=code2,
            by=Actor.signed_in(principal),
            source=source(request),
        )
    except NoSession as error:  # it expired, was started again, or is complete
        if await next_page(services, user) == "/code":
            notice = "Your phone is connected. You can create new recovery codes after signing in."
            await run_in_threadpool(accounts.save_session, replace(session, notice=notice))
            return redirect("/code")
        text = "This set-up is over. Start again."
        return await start(request, text, status=error.http_status)
    except CodeRejected as error:
        if error.remedy == "enroll":  # that was the last attempt
            return await start(request, error.claimant_message, status=error.http_status)
        return await rejected(request, "enroll.html", error, enrollment=enrollment)
    await run_in_threadpool(accounts.set_device, user, True)
    notice = "Your phone is connected. Sign in with the next code."
    await run_in_threadpool(accounts.save_session, replace(session, enrollment="", notice=notice))
    codes = report.recovery_codes
    return await page(
        request,
        "recovery_codes.html",
        notice="Your phone is connected.",
        codes=codes.codes if codes else (),
        out_of_sync=report.sync is Sync.OUT_OF_SYNC,
        next="/code",
    )


@pages.post("/device/cancel")
async def cancel(request: Request, services: ServicesNeeded, session: PasswordSession) -> Response:
    principal = mfa.principal_of(session.user)
    with suppress(NoSession):
        await services.registry.cancel_enrollment(
            principal, by=Actor.signed_in(principal), source=source(request)
        )
    return redirect("/device")


async def start(
    request: Request, error: str = "", *, status: int = 200, binding_code: bool = False
) -> Response:
    """Return the page with the button that opens an enrollment. Its form counts once."""
    return await page(
        request,
        "device.html",
        status,
        error=error,
        form=secrets.token_hex(16),
        binding_code=binding_code,
    )
