"""Sign in: the password, the code, resynchronization, and a lost phone."""

from __future__ import annotations

from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme

from vmfa.integrations.django.sessions import forget_claim, remember_claim, remember_client

from ..forms import LostPhoneForm, PasswordForm, SignInCodeForm, TwoCodesForm
from ..guards import device_required, needs_code, user_of
from ..limits import PASSWORDS_OF_A_USER, wait_for
from ..models import User, normalized


class SignInView(LoginView):
    """The first factor. What the browser had before is worthless: Django renews the session."""

    authentication_form = PasswordForm
    template_name = "sign_in.html"

    def get_form_kwargs(self) -> dict[str, Any]:
        """Return the arguments of the form, without the colons after labels."""
        return {**super().get_form_kwargs(), "label_suffix": ""}

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Limit the passwords of each user."""
        wait = wait_for(PASSWORDS_OF_A_USER, normalized(request.POST.get("username", "")))
        if not wait:
            return super().post(request, *args, **kwargs)
        error = f"Too many attempts. Try again in {wait} seconds."
        context = self.get_context_data(form=PasswordForm(request, label_suffix=""), error=error)
        return self.render_to_response(context, status=429, headers={"Retry-After": wait})

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Start the session, unless the device of the user is missing."""
        needs_code(cast(User, form.get_user()))
        return super().form_valid(form)

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Show the form again."""
        return self.render_to_response(self.get_context_data(form=form), status=401)


@device_required
def code(request: HttpRequest) -> HttpResponseBase:
    """Ask for a code."""
    form = SignInCodeForm(request, request.POST or None, label_suffix="")
    if not form.is_valid() or form.receipt is None:
        return form_page(request, "code.html", form, next=next_page(request))
    user_of(request).record_device(True)
    remember_claim(request, form.receipt.claim)
    response = redirect(next_page(request))
    remember_client(response, form.receipt)
    return response


@device_required
def resync(request: HttpRequest) -> HttpResponseBase:
    """Ask for two codes of a phone whose clock is wrong."""
    form = TwoCodesForm(request, request.POST or None, label_suffix="")
    if not form.is_valid():
        return form_page(request, "resync.html", form)
    messages.success(request, "The app is in sync again. Sign in with the next code.")
    return redirect("code")


@device_required
def recover(request: HttpRequest) -> HttpResponseBase:
    """Ask for a recovery code, and remove the lost phone."""
    form = LostPhoneForm(request, request.POST or None, label_suffix="")
    if not form.is_valid():
        return form_page(request, "recover.html", form)
    user = user_of(request)
    user.record_device(False)
    forget_claim(request)
    user.end_sessions(except_for=request.session.session_key)
    messages.success(request, "The lost phone was removed. Set up another one now.")
    return redirect("device")


def form_page(request: HttpRequest, template: str, form: Any, **context: Any) -> HttpResponse:
    """Return a form, with what was wrong with the codes, and the status that says so."""
    status = 200
    if form.is_bound:
        status = form.rejection.http_status if form.rejection else 400
    response = render(request, template, {"form": form, **context}, status=status)
    if form.rejection and form.rejection.retry_after:
        response["Retry-After"] = str(form.rejection.retry_after)
    return response


def next_page(request: HttpRequest) -> str:
    """Return the page that asked for the code. It is one of our own: no open redirect."""
    url = request.POST.get("next") or request.GET.get("next")
    ours = url_has_allowed_host_and_scheme(
        url, {request.get_host()}, require_https=request.is_secure()
    )
    return url if url and ours else resolve_url(settings.LOGIN_REDIRECT_URL)
