"""What the pages share: dependencies, answers, cookies and guards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

from fastapi import Depends, Form, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates

from vmfa import Actor, ClientToken, CodeRejected, VmfaError
from vmfa.aio import DeviceRegistry

from ..service import mfa
from ..service.accounts import (
    Accounts,
    Session,
    User,
    csrf_is_valid,
    csrf_token,
    is_token,
    new_token,
)
from ..service.limits import RateLimit

SERVICE = Path(__file__).parents[1] / "service"
STATIC = SERVICE / "static"
templates = Jinja2Templates(SERVICE / "templates")


@dataclass(frozen=True)
class Services:
    """What the application is made of. The accounts block: use them in threads."""

    registry: DeviceRegistry
    accounts: Accounts
    forms: RateLimit  # by address
    passwords: RateLimit  # by e-mail address
    clock: Callable[[], float]


class Redirect(Exception):
    """Answer with a redirection to *path*."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class Refused(Exception):
    """Answer with a message: a form was not processed."""

    def __init__(self, heading: str, text: str, status: int, *, wait: int | None = None) -> None:
        super().__init__(heading)
        self.heading, self.text, self.status, self.wait = heading, text, status, wait


class DeviceMissing(Exception):
    """The service knows that a user has a device, and the store has none: it was tampered with."""


# Dependencies. Those without async run in threads.


def get_services(request: Request) -> Services:
    """Return the services of the application."""
    return cast(Services, request.app.state.services)


ServicesNeeded = Annotated[Services, Depends(get_services)]


def load_session(request: Request, services: ServicesNeeded) -> None:
    """Find the session of the browser, for every request."""
    request.state.session = services.accounts.session(session_token(request))


async def protect_forms(request: Request, services: ServicesNeeded) -> None:
    """Refuse floods, and forms that do not come from a page of this browser.

    :raises Refused: the form must not be processed.
    """
    if request.method != "POST":
        return
    wait = services.forms.wait(source(request))
    if wait:
        raise Refused("Too many requests", f"Try again in {wait} seconds.", 429, wait=wait)
    submitted = (await request.form()).get("csrf", "")
    if not isinstance(submitted, str) or not csrf_is_valid(session_token(request), submitted):
        raise Refused("This page is too old", mfa.OLD_PAGE, 403)


def password_required(request: Request) -> Session:
    """Guard a page that needs the password only.

    :raises Redirect: to the sign-in page, which says why if the browser had a session.
    """
    session: Session | None = request.state.session
    if session is None:
        raise Redirect("/sign-in?ended" if session_token(request) else "/sign-in")
    return session


class MfaRequired:
    """Guards a page that needs a second factor that still counts.

    The claim in the session is not enough: it ends when the device is removed.

    :param max_age: the largest age of the code in seconds; None for the life of the session.
    """

    def __init__(self, *, max_age: int | None = None) -> None:
        self.max_age = max_age

    async def __call__(
        self,
        request: Request,
        services: ServicesNeeded,
        session: Annotated[Session, Depends(password_required)],
    ) -> Session:
        """Return the session.

        :raises Redirect: to the page that asks for a code.
        """
        registry = services.registry
        principal, claim = mfa.principal_of(session.user), mfa.claim_of(session)
        if await registry.claim_is_valid(principal, claim, max_age=self.max_age):
            return session
        if not await registry.claim_is_valid(principal, claim):
            session = replace(session, claim=None)  # its device was removed
        return_to = "/" + request.url.path.split("/")[1]  # of our own pages: no open redirect
        await run_in_threadpool(
            services.accounts.save_session, replace(session, return_to=return_to)
        )
        raise Redirect("/code")


PasswordSession = Annotated[Session, Depends(password_required)]
MfaSession = Annotated[Session, Depends(MfaRequired())]
RecentMfaSession = Annotated[Session, Depends(MfaRequired(max_age=mfa.POLICY.claim_seconds))]
Field = Annotated[str, Form()]


# Answers


async def page(
    request: Request, template: str, status: int = 200, *, wait: int | None = None, **values: Any
) -> Response:
    """Return a page, with the notice of the session on it.

    :param wait: the seconds of a ``Retry-After`` header.
    """
    session: Session | None = getattr(request.state, "session", None)  # none for unknown paths
    token = session_token(request)
    is_new = not is_token(token)
    if is_new:
        token = new_token()  # so that the form of a visitor differs from a forged one
    if session is not None and session.notice:
        values.setdefault("notice", session.notice)
        accounts = get_services(request).accounts
        await run_in_threadpool(accounts.save_session, replace(session, notice=""))
    context = {
        "csrf": csrf_token(token),
        "user": session.user if session else None,
        "signed_in": session is not None and session.claim is not None,
        **values,
    }
    headers = {"Retry-After": str(wait)} if wait else None
    response = templates.TemplateResponse(
        request, template, context, status_code=status, headers=headers
    )
    return set_session_cookie(response, token) if is_new else response


async def message(
    request: Request, heading: str, text: str, status: int, *, wait: int | None = None
) -> Response:
    """Return a page with one message and one link."""
    return await page(request, "message.html", status, wait=wait, heading=heading, text=text)


async def rejected(
    request: Request, template: str, error: CodeRejected, **values: Any
) -> Response:
    """Return the form again, with what was wrong with the code."""
    return await page(
        request,
        template,
        error.http_status,
        wait=error.retry_after,
        error=error.claimant_message,
        remedy=error.remedy,
        **values,
    )


async def refused(request: Request, error: VmfaError) -> Response:
    """Return a page for an error that no form can correct."""
    if error.http_status >= 500:
        mfa.log.error("%s: %s", error.reason, error)
    return await message(
        request,
        "That did not work",
        error.claimant_message,
        error.http_status,
        wait=error.retry_after,
    )


def redirect(path: str) -> Response:
    """Send the browser to another page, which it loads with GET."""
    return RedirectResponse(path, 303)


# Cookies


def set_session_cookie(response: Response, token: str) -> Response:
    """Give the browser the token of its session."""
    response.set_cookie(
        mfa.SESSION_COOKIE, token, secure=True, httponly=True, samesite="lax", path="/"
    )
    return response


def delete_cookie(response: Response, name: str) -> None:
    """Make the browser forget a cookie."""
    response.delete_cookie(name, secure=True, httponly=True, samesite="lax", path="/")


def session_token(request: Request) -> str:
    """Return the token of the session that the browser has, or an empty text."""
    return request.cookies.get(mfa.SESSION_COOKIE, "")


def client_cookie(services: Services, user: User) -> str:
    """Return the name of the cookie by which a browser of *user* is known: it shows no name."""
    return mfa.CLIENT_COOKIE + services.accounts.keyed_hash(user)


def set_client_cookie(
    services: Services, response: Response, user: User, token: ClientToken | None
) -> None:
    """Make this browser a known client of *user*."""
    if token is not None:
        response.set_cookie(
            client_cookie(services, user),
            token.text,
            max_age=token.expires_at - int(services.clock()),
            secure=True,
            httponly=True,
            samesite="lax",
            path="/",
        )


# What vmfa needs to know


async def next_page(services: Services, user: User) -> str:
    """Return the page after the password: that of the code, or that of the first set-up.

    :raises DeviceMissing: the store lost the device. The password alone must not set up another.
    """
    if await services.registry.requires_code(mfa.principal_of(user)):
        return "/code"
    if user.has_device:
        raise DeviceMissing(user.id)
    return "/device"


def actor_of(session: Session) -> Actor:
    """Return the signed-in user as an actor, with the claim of the second factor."""
    return Actor.signed_in(mfa.principal_of(session.user), mfa=mfa.claim_of(session))


def source(request: Request) -> str:
    """Return where the request came from, for the history."""
    return request.client.host if request.client else ""
