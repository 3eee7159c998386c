"""Pages with one message, for errors."""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from vmfa import CodeRejected, InvalidValue, TooManySessions, VmfaError
from vmfa.integrations.django.messages import message_of

log = logging.getLogger("example")
OLD_PAGE = "You signed in or out in the meantime. Nothing was changed. Open the page again."


def message(
    request: HttpRequest, heading: str, text: str, status: int, *, wait: int | None = None
) -> HttpResponse:
    """Return a page with one message and one link.

    :param wait: the seconds of a ``Retry-After`` header.
    """
    response = render(request, "message.html", {"heading": heading, "text": text}, status=status)
    if wait:
        response["Retry-After"] = str(wait)
    return response


def refused(request: HttpRequest, error: VmfaError) -> HttpResponse:
    """Return a page for an error of vmfa that no form can correct."""
    if error.http_status >= 500:
        log.error("%s: %s", error.reason, error)
    return message(
        request, "That did not work", message_for(error), error.http_status,
        wait=getattr(error, "retry_after", None),
    )


def message_for(error: VmfaError) -> str:
    """Return what the user may see of *error*."""
    if isinstance(error, CodeRejected):
        return message_of(error)
    if isinstance(error, TooManySessions):
        return "Too many set-ups were started today. Try again tomorrow."
    if isinstance(error, InvalidValue):
        return "An entry has characters that are not accepted, or is too long."
    if error.http_status >= 500:
        return "The service has a problem. Try again in some minutes, with the next code."
    return "This is not possible now. Open the page again."


def old_page(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Return the page for a form without the token of this browser."""
    return message(request, "This page is too old", OLD_PAGE, 403)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return the page for a request that Django refuses to read."""
    return message(request, "Bad request", "Go back to the first page.", 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return the page for a user without the permission."""
    return message(request, "Forbidden", "Go back to the first page.", 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return the page for an unknown address."""
    return message(request, "Not found", "Go back to the first page.", 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return the page for an error of the service."""
    return message(request, "Server error", "Try again in some minutes.", 500)
