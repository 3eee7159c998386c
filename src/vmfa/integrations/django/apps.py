"""The configuration of the Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy


class VmfaConfig(AppConfig):
    """The app ``vmfa``."""

    name = "vmfa.integrations.django"
    label = "vmfa"
    verbose_name = gettext_lazy("MFA devices")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401  # importing it registers them
