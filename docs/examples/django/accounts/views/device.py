"""Set up an authenticator app: the key is shown once, then two codes connect the phone."""

from __future__ import annotations

import secrets
from contextlib import suppress

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from vmfa import AccessDenied, NoSession, Sync, qr
from vmfa.integrations.django.messages import message_of
from vmfa.integrations.django.registry import get_registry
from vmfa.integrations.django.sessions import actor_of, principal_of, source_of

from ..forms import SetUpForm
from ..guards import needs_code, no_device_required, user_of
from .sign_in import form_page

USED_FORMS = "used_forms"  # in the session


@no_device_required
def start(request: HttpRequest) -> HttpResponseBase:
    """Show the button that opens an enrollment."""
    return start_page(request)


@require_POST
@no_device_required
@sensitive_variables()
def new(request: HttpRequest) -> HttpResponseBase:
    """Open an enrollment, and show its key in this answer alone."""
    if not is_first_use(request, request.POST.get("form", "")):  # the page was reloaded
        enrollment = request.session.get("enrollment", "")
        return render(request, "enroll.html", {"form": new_form(request, enrollment)}, status=409)
    try:
        opened = get_registry().open_enrollment(
            principal_of(request.user), by=actor_of(request), label=user_of(request).email,
            binding_code=request.POST.get("binding_code") or None, source=source_of(request),
        )
    except AccessDenied as error:
        if error.missing != "binding code":
            raise
        text = "Your phone was removed by an administrator. Enter the code that you received."
        return start_page(request, text, status=error.http_status, binding_code=True)
    request.session["enrollment"] = opened.session_id  # the id and nothing else
    return render(request, "enroll.html", {
        "form": new_form(request, opened.session_id),
        "qr_code": qr.svg(opened.uri, scale=4),
        "key": " ".join(opened.base32[i : i + 4] for i in range(0, len(opened.base32), 4)),
    })


@require_POST
@login_required
@sensitive_post_parameters()
@sensitive_variables()
def confirm(request: HttpRequest) -> HttpResponseBase:
    """Connect the phone, and show the recovery codes in this answer alone."""
    form = SetUpForm(request, request.POST, session_id="", label_suffix="")
    if form.is_valid() and form.report is not None:
        user_of(request).record_device(True)
        request.session.pop("enrollment", None)
        codes = form.report.recovery_codes
        response = render(request, "recovery_codes.html", {
            "notice": "Your phone is connected.",
            "codes": codes.codes if codes else (),
            "out_of_sync": form.report.sync is Sync.OUT_OF_SYNC,
            "next": "code",
        })
        messages.success(request, "Your phone is connected. Sign in with the next code.")
        return response
    if form.rejection and form.rejection.remedy != "enroll":
        return form_page(request, "enroll.html", form)
    if needs_code(user_of(request)):  # it was sent twice
        text = "Your phone is connected. You can create new recovery codes after signing in."
        messages.info(request, text)
        return redirect("code")
    if form.rejection:  # that was the last attempt
        text = message_of(form.rejection)
        return start_page(request, text, status=form.rejection.http_status)
    if form.has_error("__all__", "enrollment-ended"):  # it expired, or was started again
        return start_page(request, "This set-up is over. Start again.", status=404)
    return form_page(request, "enroll.html", form)


@require_POST
@login_required
def cancel(request: HttpRequest) -> HttpResponseBase:
    """End the enrollment."""
    with suppress(NoSession):
        get_registry().cancel_enrollment(
            principal_of(request.user), by=actor_of(request), source=source_of(request)
        )
    return redirect("device")


def new_form(request: HttpRequest, enrollment: str) -> SetUpForm:
    """Return the empty form of an enrollment."""
    return SetUpForm(
        request, session_id=enrollment, initial={"enrollment": enrollment}, label_suffix=""
    )


def start_page(
    request: HttpRequest, error: str = "", *, status: int = 200, binding_code: bool = False
) -> HttpResponse:
    """Return the page with the button that opens an enrollment. Its form counts once."""
    context = {"error": error, "token": secrets.token_hex(16), "binding_code": binding_code}
    return render(request, "device.html", context, status=status)


def is_first_use(request: HttpRequest, token: str) -> bool:
    """Return whether the form with this random value was never submitted in this session."""
    used = request.session.get(USED_FORMS, [])
    request.session[USED_FORMS] = [*used, token]
    return token not in used
