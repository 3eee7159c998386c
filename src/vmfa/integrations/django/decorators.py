"""Views that need a second factor: the decorator ``mfa_required`` and a mixin."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, resolve_url

from .registry import get_configuration, get_registry
from .sessions import has_mfa, principal_of

View = Callable[..., Any]


@overload
def mfa_required(view: View, *, max_age: int | None = None) -> View: ...


@overload
def mfa_required(
    view: None = None, *, max_age: int | None = None
) -> Callable[[View], View]: ...


def mfa_required(
    view: View | None = None, *, max_age: int | None = None
) -> View | Callable[[View], View]:
    """Let only users with a valid claim of a second factor reach a view.

    Every request asks the registry whether the claim is still valid. Other requests are redirected
    to ``LOGIN_URL``, to ``VMFA["CODE_URL"]``, or, for users without a device, to
    ``VMFA["ENROLL_URL"]``, with the path of the view in ``next`` if it was a GET request.

    :param view: the view, synchronous or asynchronous.
    :param max_age: the largest age of the claim in seconds; None for no limit.
    """

    if view is None:
        return lambda view: _decorated(view, max_age)
    return _decorated(view, max_age)


def _decorated(view: View, max_age: int | None) -> View:
    decorate = _asynchronous if iscoroutinefunction(view) else _synchronous
    return decorate(view, max_age)


def _asynchronous(view: View, max_age: int | None) -> View:
    @wraps(view)
    async def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        answer = await sync_to_async(redirection)(request, max_age)
        return answer or await view(request, *args, **kwargs)

    return wrapper


def _synchronous(view: View, max_age: int | None) -> View:
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return redirection(request, max_age) or view(request, *args, **kwargs)

    return wrapper


class MfaRequiredMixin:
    """Let only users with a valid claim reach a class-based view: see :func:`mfa_required`.

    Put it before the other base classes. ``mfa_max_age`` is the largest age of the claim in
    seconds. The handlers of the view may be synchronous or asynchronous.
    """

    mfa_max_age: int | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Answer with a redirection, or as the view does."""
        view: Any = super()  # the View that this is mixed in
        decorate = _asynchronous if view.view_is_async else _synchronous
        return decorate(view.dispatch, self.mfa_max_age)(request, *args, **kwargs)


def redirection(request: HttpRequest, max_age: int | None) -> HttpResponseBase | None:
    """Return where *request* has to go first; None if it has a valid claim.

    :raises PermissionDenied: the user has no device, and there is no page to enroll one.
    :raises ImproperlyConfigured: ``VMFA["CODE_URL"]`` is missing.
    """
    if not request.user.is_authenticated:
        return _redirect_to(request, settings.LOGIN_URL)
    if has_mfa(request, max_age=max_age):
        return None
    configuration = get_configuration()
    if get_registry().requires_code(principal_of(request.user)):
        if configuration.code_url is None:
            raise ImproperlyConfigured("mfa_required needs VMFA['CODE_URL']: the page for codes")
        return _redirect_to(request, configuration.code_url)
    if configuration.enroll_url is None:
        raise PermissionDenied("this page requires a second factor")
    return _redirect_to(request, configuration.enroll_url)


def _redirect_to(request: HttpRequest, url: Any) -> HttpResponseBase:
    from django.contrib.auth.views import redirect_to_login

    if request.method not in {"GET", "HEAD"}:
        return redirect(url)  # what was submitted is lost, and its path may accept no GET
    return redirect_to_login(request.get_full_path(), resolve_url(url))
