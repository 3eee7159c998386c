"""What the pages share: services, answers, cookies and guards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, cast

from flask import Response, current_app, g, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from vmfa import Actor, ClientToken, CodeRejected, DeviceRegistry, VmfaError

from ..service import mfa
from ..service.accounts import Accounts, Session, User, csrf_token, is_token, new_token
from ..service.limits import RateLimit

P = ParamSpec("P")
View = Callable[Concatenate[Session, P], AnyResponse]


@dataclass(frozen=True)
class Services:
    """What the application is made of."""

    registry: DeviceRegistry
    accounts: Accounts
    forms: RateLimit  # by address
    passwords: RateLimit  # by e-mail address
    clock: Callable[[], float]


def services() -> Services:
    """Return the services of the application."""
    return cast(Services, current_app.extensions["services"])


class DeviceMissing(Exception):
    """The service knows that a user has a device, and the store has none: it was tampered with."""


# Answers


def page(template: str, status: int = 200, *, wait: int | None = None, **values: Any) -> Response:
    """Return a page, with the notice of the session on it.

    :param wait: the seconds of a ``Retry-After`` header.
    """
    session: Session | None = g.session
    is_new = not is_token(g.token)
    if is_new:
        g.token = new_token()  # so that the form of a visitor differs from a forged one
    if session is not None and session.notice:
        values.setdefault("notice", session.notice)
        services().accounts.save_session(replace(session, notice=""))
    html = render_template(
        template,
        csrf=csrf_token(g.token),
        user=session.user if session else None,
        signed_in=session is not None and session.claim is not None,
        **values,
    )
    response = make_response(html, status)
    if is_new:
        set_session_cookie(response, g.token)
    if wait:
        response.headers["Retry-After"] = str(wait)
    return response


def message(heading: str, text: str, status: int, *, wait: int | None = None) -> Response:
    """Return a page with one message and one link."""
    return page("message.html", status, wait=wait, heading=heading, text=text)


def rejected(template: str, error: CodeRejected, **values: Any) -> Response:
    """Return the form again, with what was wrong with the code."""
    return page(
        template,
        error.http_status,
        wait=error.retry_after,
        error=error.claimant_message,
        remedy=error.remedy,
        **values,
    )


def refused(error: VmfaError) -> Response:
    """Return a page for an error that no form can correct."""
    if error.http_status >= 500:
        mfa.log.error("%s: %s", error.reason, error)
    return message(
        "That did not work",
        error.claimant_message,
        error.http_status,
        wait=error.retry_after,
    )


# Cookies


def set_session_cookie(response: AnyResponse, token: str) -> AnyResponse:
    """Give the browser the token of its session."""
    response.set_cookie(
        mfa.SESSION_COOKIE, token, secure=True, httponly=True, samesite="Lax", path="/"
    )
    return response


def client_cookie(user: User) -> str:
    """Return the name of the cookie by which a browser of *user* is known: it shows no name."""
    return mfa.CLIENT_COOKIE + services().accounts.keyed_hash(user)


def set_client_cookie(response: AnyResponse, user: User, token: ClientToken | None) -> None:
    """Make this browser a known client of *user*."""
    if token is not None:
        response.set_cookie(
            client_cookie(user),
            token.text,
            max_age=token.expires_at - int(services().clock()),
            secure=True,
            httponly=True,
            samesite="Lax",
            path="/",
        )


# Guards


def to_sign_in() -> AnyResponse:
    """Send the browser to the sign-in page, and say why if it had a session."""
    return redirect("/sign-in?ended" if g.token else "/sign-in", 303)


def next_page(user: User) -> str:
    """Return the page after the password: that of the code, or that of the first set-up.

    :raises DeviceMissing: the store lost the device. The password alone must not set up another.
    """
    if services().registry.requires_code(mfa.principal_of(user)):
        return "/code"
    if user.has_device:
        raise DeviceMissing(user.id)
    return "/device"


def password_required(view: View[P]) -> Callable[P, AnyResponse]:
    """Guard a page that needs the password only. The view is called with the session."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> AnyResponse:
        session: Session | None = g.session
        return to_sign_in() if session is None else view(session, *args, **kwargs)

    return guarded


def mfa_required(*, max_age: int | None = None) -> Callable[[View[P]], Callable[P, AnyResponse]]:
    """Guard a page that needs a second factor that still counts.

    The claim in the session is not enough: it ends when the device is removed.

    :param max_age: the largest age of the code in seconds; None for the life of the session.
    """

    def decorate(view: View[P]) -> Callable[P, AnyResponse]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> AnyResponse:
            session: Session | None = g.session
            if session is None:
                return to_sign_in()
            registry, accounts = services().registry, services().accounts
            principal, claim = mfa.principal_of(session.user), mfa.claim_of(session)
            if registry.claim_is_valid(principal, claim, max_age=max_age):
                return view(session, *args, **kwargs)
            if not registry.claim_is_valid(principal, claim):
                session = replace(session, claim=None)  # its device was removed
            return_to = "/" + request.path.split("/")[1]  # of our own pages: no open redirect
            accounts.save_session(replace(session, return_to=return_to))
            return redirect("/code", 303)

        return guarded

    return decorate


def actor_of(session: Session) -> Actor:
    """Return the signed-in user as an actor, with the claim of the second factor."""
    return Actor.signed_in(mfa.principal_of(session.user), mfa=mfa.claim_of(session))


def source() -> str:
    """Return where the request came from, for the history."""
    return request.remote_addr or ""
