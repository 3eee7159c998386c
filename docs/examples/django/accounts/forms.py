"""The forms: Django's for the password, and those of vmfa with the words of this service."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm, UsernameField

from vmfa.integrations.django.forms import (
    CodeForm,
    CodeInput,
    ConfirmForm,
    RecoveryForm,
    ResyncForm,
    SecretInput,
)


class PasswordForm(AuthenticationForm):
    """The first factor. It does not say whether the user exists."""

    username = UsernameField(widget=forms.EmailInput)
    error_messages = {  # noqa: RUF012  # as Django declares it
        "invalid_login": "The e-mail address or the password is wrong.",
        "inactive": "The e-mail address or the password is wrong.",
    }


class SignInCodeForm(CodeForm):
    """The second factor, with a field for a token that an administrator gave to the user."""

    code = forms.CharField(
        label="Code that your authenticator app shows", max_length=20,
        widget=CodeInput({"class": "code", "autofocus": True}),
    )
    client_token = forms.CharField(
        label="Token", max_length=256, required=False, widget=SecretInput
    )


class PairFields(forms.Form):
    """Fields for the code that the app shows, and for the next one."""

    code1 = forms.CharField(
        label="First code", max_length=20,
        widget=CodeInput({"class": "code", "autocomplete": "off"}),
    )
    code2 = forms.CharField(
        label="Next code", max_length=20,
        widget=CodeInput({"class": "code", "autocomplete": "off"}),
    )


class SetUpForm(PairFields, ConfirmForm):
    """Two codes that connect a phone, and the enrollment that they belong to."""

    enrollment = forms.CharField(max_length=64, widget=forms.HiddenInput)

    def present(self, codes: dict[str, Any]) -> None:
        """Confirm the enrollment of the page: another tab may have opened another one."""
        self.session_id = codes.pop("enrollment")
        super().present(codes)


class TwoCodesForm(PairFields, ResyncForm):
    """Two codes that put a phone in sync."""


class LostPhoneForm(RecoveryForm):
    """A recovery code that removes a lost phone."""

    recovery_code = forms.CharField(
        label="Recovery code", max_length=60,
        widget=SecretInput({"class": "code", "autofocus": True}),
    )
