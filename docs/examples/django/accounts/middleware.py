"""What holds for every request: headers, a rate limit, the end of sessions, errors of vmfa."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout, user_logged_in
from django.contrib.auth.views import redirect_to_login
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, resolve_url

from vmfa import AccessDenied, VmfaError
from vmfa.integrations.django.registry import get_configuration
from vmfa.integrations.django.sessions import has_mfa, source_of

from .guards import DeviceMissing
from .limits import FORMS_OF_AN_ADDRESS, wait_for
from .views.errors import message, refused

PASSWORD_SECONDS = 15 * 60  # how long a session lasts after the password alone
SESSION_SECONDS = 8 * 3600  # and how long with a second factor
PASSWORD_AT = "password_at"  # in the session
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
log = logging.getLogger("example")
Next = Callable[[HttpRequest], HttpResponseBase]


class SecurityHeaders:
    """Forbids to keep and to frame a page. Django's SecurityMiddleware sets the other headers.

    Django's own Referrer-Policy is right here: with "no-referrer", browsers would send
    "Origin: null" with each form, and the protection against forged forms would refuse it.
    """

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Set the headers."""
        response = self.get_response(request)
        response["Cache-Control"] = "no-store"
        response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return response


class RateLimit:
    """Refuses the forms of an address that sends too many."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer 429, or pass the request on."""
        wait = 0
        if request.method == "POST":
            wait = wait_for(FORMS_OF_AN_ADDRESS, source_of(request))
        if wait:
            text = f"Try again in {wait} seconds."
            return message(request, "Too many requests", text, 429, wait=wait)
        return self.get_response(request)


@receiver(user_logged_in)
def start_session(request: HttpRequest, **_: object) -> None:
    """Record when the password was entered."""
    request.session[PASSWORD_AT] = int(get_configuration().clock())


class SessionLimits:
    """Ends sessions, and says so."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Send the browser to the sign-in page if its session is over."""
        had_session = settings.SESSION_COOKIE_NAME in request.COOKIES
        if self.is_over(request):
            logout(request)
        at_sign_in = request.path == resolve_url(settings.LOGIN_URL)
        if request.user.is_authenticated or not had_session or at_sign_in:
            return self.get_response(request)
        messages.info(request, "Your session has ended. Sign in again.")
        if request.method == "GET":
            return redirect_to_login(request.get_full_path(), resolve_url(settings.LOGIN_URL))
        return redirect(settings.LOGIN_URL)

    def is_over(self, request: HttpRequest) -> bool:
        """Return whether the session is too old for what it may do."""
        if not request.user.is_authenticated:
            return False
        age = get_configuration().clock() - request.session[PASSWORD_AT]
        return age >= SESSION_SECONDS or (age >= PASSWORD_SECONDS and not has_mfa(request))


class VmfaErrors:
    """Shows errors of vmfa that no form can correct."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass the request on."""
        return self.get_response(request)

    def process_exception(
        self, request: HttpRequest, error: Exception
    ) -> HttpResponse | None:
        """Return the page for *error*."""
        if isinstance(error, DeviceMissing):
            log.critical("the device of user %s is missing in the store", error)
            return message(request, "Sign-in is not possible", "Contact an administrator.", 503)
        if isinstance(error, AccessDenied) and error.missing == "mfa claim":
            return redirect("code")  # the claim became too old for this operation
        return refused(request, error) if isinstance(error, VmfaError) else None
