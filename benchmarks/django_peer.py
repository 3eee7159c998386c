"""Sign in with django-otp, the peer with a database, under a simulated time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from users import START, STEP

APPLICATIONS = (
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "vmfa.integrations.django",
)


class SimulatedTime:
    """Replaces the ``time`` module in django-otp."""

    now = START

    def time(self) -> int:
        return self.now


class DjangoDevice:
    """A Django user with one confirmed device.

    A process can use one database only: Django's settings are global.
    """

    def __init__(self, database: Mapping[str, Any], name: str = "alice") -> None:
        import django
        from django.conf import settings
        from django.core.management import call_command

        if not settings.configured:
            settings.configure(
                DATABASES={"default": dict(database)},
                DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
                INSTALLED_APPS=APPLICATIONS,
                USE_TZ=True,
            )
            django.setup()
            call_command("migrate", verbosity=0)
        from django.contrib.auth.models import User
        from django_otp.plugins.otp_totp import models

        self._time = models.time = SimulatedTime()
        self._user = User.objects.create_user(name)
        self._device = models.TOTPDevice.objects.create(
            user=self._user, name="phone", confirmed=True
        )

    def sign_in(self) -> None:
        from django_otp import verify_token
        from django_otp.oath import hotp

        self._time.now += STEP
        code = hotp(self._device.bin_key, self._time.now // STEP)
        assert verify_token(self._user, self._device.persistent_id, f"{code:06}") is not None

    def execute(self, statement: str) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(statement)

    def close(self) -> None:
        from django.db import connections

        connections.close_all()
