"""The configuration of the Django app."""

from __future__ import annotations

from django.apps import AppConfig


class VmfaConfig(AppConfig):
    """The app ``vmfa``."""

    name = "vmfa.integrations.django"
    label = "vmfa"
    verbose_name = "MFA devices"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401  # importing it registers them
