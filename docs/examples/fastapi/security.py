"""The pages behind the second factor: the home page, and what users do about their own device."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from ..service import mfa
from .web import (
    MfaSession,
    RecentMfaSession,
    ServicesNeeded,
    actor_of,
    client_cookie,
    delete_cookie,
    page,
    redirect,
    set_session_cookie,
    source,
)

pages = APIRouter()


@pages.get("/")
async def home(request: Request, _session: MfaSession) -> Response:
    return await page(request, "home.html")


@pages.get("/security")
async def security(
    request: Request, services: ServicesNeeded, session: RecentMfaSession
) -> Response:
    registry, principal, me = services.registry, mfa.principal_of(session.user), actor_of(session)
    device = await registry.device(principal, by=me, source=source(request))
    events = await registry.history(
        principal, by=me, limit=mfa.HISTORY_EVENTS, source=source(request)
    )
    users = await run_in_threadpool(services.accounts.users)
    emails = {user.id: user.email for user in users}
    return await page(
        request,
        "security.html",
        device=device,
        enrolled_at=datetime.fromtimestamp(device.enrolled_at, UTC).isoformat(),
        history=mfa.history_rows(events, session.user, emails),
    )


@pages.post("/security/recovery-codes")
async def recovery_codes(
    request: Request, services: ServicesNeeded, session: RecentMfaSession
) -> Response:
    codes = await services.registry.replace_recovery_codes(
        mfa.principal_of(session.user), by=actor_of(session), source=source(request)
    )
    return await page(request, "recovery_codes.html", codes=codes.codes, next="/security")


@pages.post("/security/remove-device")
async def remove_device(
    request: Request, services: ServicesNeeded, session: RecentMfaSession
) -> Response:
    user, accounts = session.user, services.accounts
    await services.registry.deactivate(
        mfa.principal_of(user), by=actor_of(session), reason="replaced", source=source(request)
    )
    await run_in_threadpool(accounts.set_device, user, False)
    notice = "The phone was removed. Set up the new one now."
    token = await run_in_threadpool(accounts.renew_session, session, claim=None, notice=notice)
    await run_in_threadpool(accounts.end_sessions, user, except_for=token)
    return set_session_cookie(redirect("/device"), token)


@pages.post("/security/sign-out-everywhere")
async def sign_out_everywhere(
    request: Request, services: ServicesNeeded, session: RecentMfaSession
) -> Response:
    await services.registry.forget_clients(
        mfa.principal_of(session.user), by=actor_of(session), source=source(request)
    )
    await run_in_threadpool(services.accounts.end_sessions, session.user)
    response = redirect("/sign-in")
    for name in (mfa.SESSION_COOKIE, client_cookie(services, session.user)):
        delete_cookie(response, name)
    return response


@pages.post("/security/reopen")
async def reopen(
    request: Request, services: ServicesNeeded, session: RecentMfaSession
) -> Response:
    await services.registry.reopen(
        mfa.principal_of(session.user), by=actor_of(session), source=source(request)
    )
    return redirect("/security")
