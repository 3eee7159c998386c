"""What administrators do for other users, with a second factor of their own."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from vmfa import Actor, NoDevice

from ..service import mfa
from ..service.accounts import User
from .web import Field, RecentMfaSession, ServicesNeeded, page, redirect, source

pages = APIRouter()
FOR_SET_UP = "{} needs this code, in person or by e-mail, to set up another phone."
FOR_SIGN_IN = "{} enters this token beside the code to sign in from an unknown browser."


def get_administrator(session: RecentMfaSession) -> Actor:
    """Return the actor, with the claim without which nothing is allowed on others."""
    if not session.user.is_admin:
        raise HTTPException(403)
    return Actor.admin(mfa.principal_of(session.user), mfa=mfa.claim_of(session))


Administrator = Annotated[Actor, Depends(get_administrator)]


def get_other_user(services: ServicesNeeded, admin: Administrator, user_id: str) -> User:
    """Return the user that the administrator acts on."""
    user = services.accounts.user(user_id)
    if user is None or mfa.principal_of(user) == admin.principal:
        raise HTTPException(404)
    return user


OtherUser = Annotated[User, Depends(get_other_user)]


@pages.get("/users")
async def users(request: Request, services: ServicesNeeded, _admin: Administrator) -> Response:
    return await page(
        request, "users.html", users=await run_in_threadpool(services.accounts.users)
    )


@pages.post("/users/{user_id}/remove-device")
async def remove_device(
    request: Request,
    services: ServicesNeeded,
    admin: Administrator,
    user: OtherUser,
    reason: Field = "",
) -> Response:
    removed = None
    with suppress(NoDevice):  # then only what this service recorded is put right
        removed = await services.registry.deactivate(
            mfa.principal_of(user), by=admin, reason=reason, source=source(request)
        )
    await run_in_threadpool(services.accounts.set_device, user, False)
    await run_in_threadpool(services.accounts.end_sessions, user)
    if removed is None or removed.binding_code is None:
        return redirect("/users")
    expires_at = removed.binding_code_expires_at
    text = FOR_SET_UP.format(user.email)
    return await hand_over(request, text, removed.binding_code, expires_at)


@pages.post("/users/{user_id}/binding-code")
async def binding_code(
    request: Request, services: ServicesNeeded, admin: Administrator, user: OtherUser
) -> Response:
    issued = await services.registry.issue_binding_code(
        mfa.principal_of(user), by=admin, source=source(request)
    )
    text = FOR_SET_UP.format(user.email)
    return await hand_over(request, text, issued.code, issued.expires_at)


@pages.post("/users/{user_id}/client-token")
async def client_token(
    request: Request, services: ServicesNeeded, admin: Administrator, user: OtherUser
) -> Response:
    token = await services.registry.give_client_token(
        mfa.principal_of(user), by=admin, source=source(request)
    )
    text = FOR_SIGN_IN.format(user.email)
    return await hand_over(request, text, token.text, token.expires_at)


async def hand_over(request: Request, text: str, secret: str, expires_at: int) -> Response:
    """Return the page that shows a secret once, for the administrator to hand over."""
    return await page(
        request,
        "hand_over.html",
        text=text,
        secret=secret,
        expires_at=datetime.fromtimestamp(expires_at, UTC).isoformat(),
    )
