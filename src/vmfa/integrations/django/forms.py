"""Forms for a code, a pair of codes and a recovery code, presented once, when validated.

An error that is not about the codes, such as :class:`vmfa.StoreError`, is raised by
``is_valid()``.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ...access import Actor
from ...errors import CodeRejected, NoDevice, NoSession
from ...models import Deactivation, PrincipalId, Receipt, SyncReport
from .messages import MESSAGES, message_of
from .registry import get_registry
from .sessions import actor_of, client_of, principal_of, source_of


class SecretInput(forms.TextInput):
    """An input for a code. A page that shows errors does not repeat the code."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"autocomplete": "off", **(attrs or {})})

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        """Return the context of the template, without the code."""
        return super().get_context(name, None, attrs)


class CodeInput(SecretInput):
    """An input for a code that an authenticator app shows."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        fixed = {"inputmode": "numeric", "autocomplete": "one-time-code"}
        super().__init__({**fixed, **(attrs or {})})


class _ClaimantForm(forms.Form):
    """A form of the signed-in user; :meth:`present` hands the codes to the registry.

    ``rejection`` is set if the codes were not accepted: its ``http_status`` and ``retry_after``
    are for the answer, its ``remedy`` says what helps.
    """

    rejection: CodeRejected | None = None

    def __init__(self, request: HttpRequest, data: Any = None, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        self.request = request
        self.principal: PrincipalId = principal_of(request.user)

    def clean(self) -> dict[str, Any]:
        """Present the codes, and show why they were not accepted."""
        codes, self.cleaned_data = self.cleaned_data, {}
        if not self.errors:
            try:
                self.present(codes)
            except CodeRejected as error:
                self.rejection = error.with_traceback(None)  # its frames are no longer needed
                self._reject(message_of(error), error.message_id)
            except NoDevice:
                self._reject(MESSAGES["rejected"], "rejected")  # the same as for a wrong code
            except NoSession:
                self._reject(MESSAGES["enrollment-ended"], "enrollment-ended")
            finally:
                codes.clear()  # error trackers record the locals of this frame
        return self.cleaned_data

    def present(self, codes: dict[str, Any]) -> None:
        """Present the codes to the registry."""
        raise NotImplementedError

    def _reject(self, text: Any, message_id: str) -> None:
        self.add_error(None, ValidationError(text, code=message_id))
        for field in self.fields.values():
            if isinstance(field.widget, SecretInput):
                field.widget.attrs["aria-invalid"] = "true"


class CodeForm(_ClaimantForm):
    """The form of the sign-in page. ``receipt`` is set if the code was accepted.

    A subclass may add a field ``client_token``, for the token that an administrator gave to the
    user. Otherwise the cookie of a known client is presented.

    :param request: the request of a user who passed the first factor.
    :param data: ``request.POST``.
    """

    code = forms.CharField(label=_("Code"), max_length=64, widget=CodeInput)
    receipt: Receipt | None = None

    def present(self, codes: dict[str, Any]) -> None:
        """Verify the code."""
        self.receipt = get_registry().verify(
            self.principal, codes.pop("code"),
            client=codes.pop("client_token", None) or client_of(self.request),
            source=source_of(self.request),
        )


class PairForm(_ClaimantForm):
    """The base of the forms for two consecutive codes. ``report`` is set if they were accepted."""

    code1 = forms.CharField(label=_("First code"), max_length=64, widget=CodeInput)
    code2 = forms.CharField(label=_("Second code"), max_length=64, widget=CodeInput)
    report: SyncReport | None = None


class ConfirmForm(PairForm):
    """The form that confirms an enrollment.

    :param session_id: of the :class:`vmfa.OpenedEnrollment`.
    """

    def __init__(
        self, request: HttpRequest, data: Any = None, *, session_id: str, **kwargs: Any
    ) -> None:
        super().__init__(request, data, **kwargs)
        self.session_id = session_id

    def present(self, codes: dict[str, Any]) -> None:
        """Confirm the enrollment."""
        self.report = get_registry().confirm_enrollment(
            self.principal, session=self.session_id, code1=codes.pop("code1"),
            code2=codes.pop("code2"), by=actor_of(self.request), source=source_of(self.request),
        )


class ResyncForm(PairForm):
    """The form that puts a device in sync."""

    def present(self, codes: dict[str, Any]) -> None:
        """Resynchronize the device."""
        self.report = get_registry().resync(
            self.principal, code1=codes.pop("code1"), code2=codes.pop("code2"),
            by=actor_of(self.request), client=client_of(self.request),
            source=source_of(self.request),
        )


class RecoveryForm(_ClaimantForm):
    """The form that removes a lost device with a saved recovery code.

    ``removed`` is set if the code was accepted. End the sessions of the user then.
    """

    recovery_code = forms.CharField(label=_("Recovery code"), max_length=64, widget=SecretInput)
    removed: Deactivation | None = None

    def present(self, codes: dict[str, Any]) -> None:
        """Remove the device."""
        by = Actor.with_recovery_code(self.principal, codes.pop("recovery_code"))
        self.removed = get_registry().deactivate(
            self.principal, by=by, reason="recovery code", source=source_of(self.request)
        )
