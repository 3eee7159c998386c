"""An adapter of django-otp: ``verify_token`` with a ``TOTPDevice``, in SQLite in memory.

    vmfa conformance run --python docs/examples/conformance/django_otp_adapter.py:DjangoOtpAdapter

The clock of the process is replaced while the kit runs. Calls at the same time are left out:
django-otp relies on row locks, which SQLite does not have.
"""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from unittest.mock import patch

import django
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from vmfa.conformance import Adapter, Answer, Result

OK = Answer(result=Result.ACCEPTED)


class DjangoOtpAdapter(Adapter):
    """Signs in with the only TOTP device of a user."""

    name = "django-otp"
    version = version("django-otp")
    capabilities = frozenset(
        {"reset", "time", "provision", "digits", "remove", "rows", "throttle-reported"}
    )

    def __init__(self) -> None:
        settings.configure(
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            INSTALLED_APPS=[
                "django.contrib.contenttypes", "django.contrib.auth", "django_otp",
                "django_otp.plugins.otp_totp",
            ],
            USE_TZ=True,
        )
        django.setup()
        call_command("migrate", verbosity=0)
        self._now = 0
        self._patches: list[Any] = [
            patch.object(time, "time", lambda: float(self._now)),
            patch.object(timezone, "now", lambda: datetime.fromtimestamp(self._now, UTC)),
        ]
        for one in self._patches:
            one.start()

    def close(self) -> None:
        for one in self._patches:
            one.stop()

    def reset(self) -> Answer:
        from django.contrib.auth.models import User

        User.objects.all().delete()
        return OK

    def set_time(self, now: int) -> Answer:
        self._now = now
        return OK

    def provision(self, user: str, secret: str, **parameters: Any) -> Answer:
        from django.contrib.auth.models import User
        from django_otp.plugins.otp_totp.models import TOTPDevice

        if parameters.pop("algorithm", "sha1") != "sha1" or parameters.keys() - {"digits"}:
            return Answer(result=Result.UNSUPPORTED)
        owner, _ = User.objects.get_or_create(username=user)
        key = base64.b32decode(secret + "=" * (-len(secret) % 8)).hex()
        TOTPDevice.objects.create(user=owner, name="phone", key=key, **parameters)
        return OK

    def verify(
        self, user: str, code: object, session: str = "", node: str = "", path: str = ""
    ) -> Answer:
        from django_otp import devices_for_user, verify_token

        owner = self._owner(user)
        devices = [] if owner is None else list(devices_for_user(owner))
        if not devices:
            return Answer.of(False)
        if not devices[0].verify_is_allowed()[0]:
            return Answer(result=Result.THROTTLED)
        try:
            return Answer.of(verify_token(owner, devices[0].persistent_id, code))
        except Exception as error:  # noqa: BLE001  # the library raised it
            return Answer.failed(error)

    def remove(self, user: str, proof: str, session: str = "") -> Answer:
        """Delete the device as the admin site does. Other proofs are the application's matter."""
        from django_otp import devices_for_user

        if proof != "support":
            return Answer(result=Result.UNSUPPORTED)
        for device in devices_for_user(self._owner(user)):
            device.delete()
        return OK

    def rows(self) -> Answer:
        from django_otp.plugins.otp_totp.models import TOTPDevice

        return Answer(result=Result.ACCEPTED, text=repr(list(TOTPDevice.objects.values())))

    @staticmethod
    def _owner(user: str) -> Any:
        from django.contrib.auth.models import User

        return User.objects.filter(username=user).first()
