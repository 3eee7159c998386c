"""Guards of the pages between the factors. The others have ``mfa_required``."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, cast

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_post_parameters

from vmfa.integrations.django.registry import get_registry
from vmfa.integrations.django.sessions import principal_of

from .models import User

View = Callable[..., HttpResponseBase]


class DeviceMissing(Exception):
    """The service knows that a user has a device, and the store has none: it was tampered with."""


def user_of(request: HttpRequest) -> User:
    """Return the user of a guarded view."""
    return cast(User, request.user)


def needs_code(user: User) -> bool:
    """Return whether *user* has a device.

    :raises DeviceMissing: the store lost the device. The password alone must not set up another.
    """
    if get_registry().requires_code(principal_of(user)):
        return True
    if user.has_device:
        raise DeviceMissing(user.pk)
    return False


def device_required(view: View) -> View:
    """Guard a page for users with a password and a device. Others set up a device first."""
    return _guarded(view, with_device=True, otherwise="device")


def no_device_required(view: View) -> View:
    """Guard a page for users with a password and without a device. Others enter a code."""
    return _guarded(view, with_device=False, otherwise="code")


def _guarded(view: View, *, with_device: bool, otherwise: str) -> View:
    @login_required
    @sensitive_post_parameters()
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if needs_code(user_of(request)) is not with_device:
            return redirect(otherwise)
        return view(request, *args, **kwargs)

    return guarded
