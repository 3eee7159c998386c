"""Sign in: the password, the code, resynchronization, and a lost phone."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from vmfa import Actor, CodeRejected, NoDevice

from ..service import mfa
from .web import (
    Field,
    PasswordSession,
    ServicesNeeded,
    actor_of,
    client_cookie,
    delete_cookie,
    next_page,
    page,
    redirect,
    rejected,
    session_token,
    set_client_cookie,
    set_session_cookie,
    source,
)

pages = APIRouter()


@pages.get("/sign-in")
async def sign_in_page(request: Request) -> Response:
    ended = "ended" in request.query_params
    notice = "Your session has ended. Sign in again." if ended else None
    return await page(request, "sign_in.html", notice=notice)


@pages.post("/sign-in")
async def sign_in(
    request: Request, services: ServicesNeeded, email: Field = "", password: Field = ""
) -> Response:
    wait = services.passwords.wait(email.strip().lower())
    if wait:
        error = f"Too many attempts. Try again in {wait} seconds."
        return await page(request, "sign_in.html", 429, wait=wait, error=error)
    user = await run_in_threadpool(services.accounts.check_password, email, password)
    if user is None:
        error = "The e-mail address or the password is wrong."
        return await page(request, "sign_in.html", 401, error=error)
    response = redirect(await next_page(services, user))
    # A new token after each factor: what the browser had before is worthless.
    token = await run_in_threadpool(
        services.accounts.start_session, user, replaced=session_token(request)
    )
    return set_session_cookie(response, token)


@pages.post("/sign-out")
async def sign_out(request: Request, services: ServicesNeeded) -> Response:
    await run_in_threadpool(services.accounts.end_session, session_token(request))
    response = redirect("/sign-in")
    delete_cookie(response, mfa.SESSION_COOKIE)
    return response


@pages.get("/code")
async def code_page(
    request: Request, services: ServicesNeeded, session: PasswordSession
) -> Response:
    where = await next_page(services, session.user)
    return await page(request, "code.html") if where == "/code" else redirect(where)


@pages.post("/code")
async def check_code(
    request: Request,
    services: ServicesNeeded,
    session: PasswordSession,
    code: Field = "",
    client_token: Field = "",
) -> Response:
    user, accounts = session.user, services.accounts
    try:
        receipt = await services.registry.verify(
            mfa.principal_of(user),
            code,
            client=client_token or request.cookies.get(client_cookie(services, user)),
            source=source(request),
        )
    except NoDevice:  # it was removed in the meantime
        return redirect(await next_page(services, user))
    except CodeRejected as error:
        return await rejected(request, "code.html", error)
    await run_in_threadpool(accounts.set_device, user, True)
    token = await run_in_threadpool(accounts.renew_session, session, claim=receipt.claim.to_dict())
    response = redirect(session.return_to or "/")
    set_client_cookie(services, response, user, receipt.client_token)
    return set_session_cookie(response, token)


@pages.get("/resync")
async def resync_page(
    request: Request, services: ServicesNeeded, session: PasswordSession
) -> Response:
    where = await next_page(services, session.user)
    return await page(request, "resync.html") if where == "/code" else redirect(where)


@pages.post("/resync")
async def resync(
    request: Request,
    services: ServicesNeeded,
    session: PasswordSession,
    code1: Field = "",
    code2: Field = "",
) -> Response:
    try:
        await services.registry.resync(
            mfa.principal_of(session.user),
            code1=code1,
            code2=code2,
            by=actor_of(session),
            client=request.cookies.get(client_cookie(services, session.user)),
            source=source(request),
        )
    except NoDevice:
        return redirect(await next_page(services, session.user))
    except CodeRejected as error:
        return await rejected(request, "resync.html", error)
    notice = "The app is in sync again. Sign in with the next code."
    await run_in_threadpool(services.accounts.save_session, replace(session, notice=notice))
    return redirect("/code")


@pages.get("/recover")
async def recover_page(
    request: Request, services: ServicesNeeded, session: PasswordSession
) -> Response:
    where = await next_page(services, session.user)
    return await page(request, "recover.html") if where == "/code" else redirect(where)


@pages.post("/recover")
async def recover(
    request: Request,
    services: ServicesNeeded,
    session: PasswordSession,
    recovery_code: Field = "",
) -> Response:
    user, accounts = session.user, services.accounts
    principal = mfa.principal_of(user)
    try:
        await services.registry.deactivate(
            principal,
            by=Actor.with_recovery_code(principal, recovery_code),
            reason="recovery code",
            source=source(request),
        )
    except NoDevice:
        return redirect(await next_page(services, user))
    except CodeRejected as error:
        return await rejected(request, "recover.html", error)
    await run_in_threadpool(accounts.set_device, user, False)
    notice = "The lost phone was removed. Set up another one now."
    token = await run_in_threadpool(accounts.renew_session, session, claim=None, notice=notice)
    await run_in_threadpool(accounts.end_sessions, user, except_for=token)
    return set_session_cookie(redirect("/device"), token)
