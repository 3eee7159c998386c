"""The configuration of the app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """The app ``accounts``."""

    name = "accounts"

    def ready(self) -> None:
        """Connect the receivers of the events."""
        from . import receivers  # noqa: F401  # importing it connects them
