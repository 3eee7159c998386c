"""The URLs and views of the Django project of the tests."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views import View

from vmfa.integrations.django.decorators import MfaRequiredMixin, mfa_required
from vmfa.integrations.django.forms import CodeForm, ResyncForm
from vmfa.integrations.django.sessions import (
    forget_claim,
    forget_client,
    principal_of,
    remember_claim,
    remember_client,
)


def _texts(form: Any) -> str:
    return " ".join(map(str, form.non_field_errors()))


@login_required
def code(request: HttpRequest) -> HttpResponse:
    form = CodeForm(request, request.POST or None)
    if form.is_valid():
        response = HttpResponse("signed in")
        remember_claim(request, form.receipt.claim)
        remember_client(response, form.receipt)
        return response
    return HttpResponse(f"{_texts(form)} {form.as_p()}", status=401)


@login_required
def forget(request: HttpRequest) -> HttpResponse:
    """Forget the claim and the browser."""
    forget_claim(request)
    response = HttpResponse("forgotten")
    forget_client(response, principal_of(request.user))
    return response


@transaction.non_atomic_requests
def exempt(request: HttpRequest) -> HttpResponse:
    return code(request)


@login_required
def fails(request: HttpRequest) -> HttpResponse:
    """Check a code, and fail after that."""
    CodeForm(request, request.POST).is_valid()
    raise ValueError("the view fails")


@login_required
def resync(request: HttpRequest) -> HttpResponse:
    form = ResyncForm(request, request.POST)
    return HttpResponse(str(form.report.sync) if form.is_valid() else _texts(form))


@mfa_required
def secret(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"the secret of {name}")


@mfa_required(max_age=60)
async def fresh(request: HttpRequest) -> HttpResponse:
    return HttpResponse("the fresh secret")


class ByClass(MfaRequiredMixin, View):
    def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("the secret of a class")


class ByAsyncClass(MfaRequiredMixin, View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("the secret of an asynchronous class")


class PlainAsyncClass(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("the secret behind as_view")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("login/", LoginView.as_view(template_name="admin/login.html")),
    path("code/", code, name="code"),
    path("resync/", resync),
    path("fails/", fails),
    path("forget/", forget),
    path("exempt/", exempt),
    path("secret/<name>/", secret),
    path("fresh/", fresh),
    path("class/", ByClass.as_view()),
    path("async-class/", ByAsyncClass.as_view()),
    path("as-view/", mfa_required(PlainAsyncClass.as_view())),
]
