"""An adapter of django-allauth: the forms of ``allauth.mfa``, in SQLite in memory.

    vmfa conformance run --python docs/examples/conformance/allauth_adapter.py:AllauthAdapter

The clock of the process is replaced while the kit runs. The cache is the default one of Django.
"""

from __future__ import annotations

import ipaddress
import time
import zlib
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


class AllauthAdapter(Adapter):
    """Enrolls with ``ActivateTOTPForm`` and signs in with ``AuthenticateForm``."""

    name = "django-allauth"
    version = version("django-allauth")
    capabilities = frozenset({"reset", "time", "provision", "enroll", "remove", "rows"})

    def __init__(self) -> None:
        settings.configure(
            SECRET_KEY="of the example",  # noqa: S106  # not a secret
            USE_TZ=True,
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            INSTALLED_APPS=[
                "django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions",
                "django.contrib.messages", "allauth", "allauth.account", "allauth.mfa",
            ],
            MIDDLEWARE=["allauth.account.middleware.AccountMiddleware"],
        )
        django.setup()
        call_command("migrate", verbosity=0)
        self._now = 0
        self._secrets: dict[str, str] = {}
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
        from django.core.cache import cache

        User.objects.all().delete()
        cache.clear()
        self._secrets.clear()
        return OK

    def set_time(self, now: int) -> Answer:
        self._now = now
        return OK

    def provision(self, user: str, secret: str, **parameters: object) -> Answer:
        from allauth.mfa.totp.internal.auth import TOTP

        if parameters:
            return Answer(result=Result.UNSUPPORTED)
        TOTP.activate(self._owner(user), secret)
        return OK

    def begin(self, user: str, session: str = "") -> Answer:
        from allauth.mfa.totp.internal.auth import generate_totp_secret

        secret = self._secrets[user] = generate_totp_secret()
        return Answer(result=Result.ACCEPTED, secret=secret, enrollment=user)

    def confirm(self, user: str, enrollment: str, codes: Any, session: str = "") -> Answer:
        from allauth.mfa.models import Authenticator
        from allauth.mfa.totp.forms import ActivateTOTPForm
        from allauth.mfa.totp.internal.auth import TOTP

        owner = self._owner(user)
        if enrollment != user or Authenticator.objects.filter(user=owner).exists():
            return Answer(result=Result.DENIED)  # the view redirects
        session_data = {"mfa.totp.secret": self._secrets.get(user)}
        with self._request(owner, session_data):
            form = ActivateTOTPForm(user=owner, data={"code": codes[-1]})
            if not form.is_valid():
                return self._refused(form)
            TOTP.activate(owner, form.secret)
        return OK

    def verify(
        self, user: str, code: object, session: str = "", node: str = "", path: str = ""
    ) -> Answer:
        from allauth.mfa.base.forms import AuthenticateForm

        if not isinstance(code, str):
            return Answer(result=Result.MALFORMED)  # a form sends text
        owner = self._owner(user)
        try:
            with self._request(owner, {}, session):
                form = AuthenticateForm(user=owner, data={"code": code})
                return OK if form.is_valid() else self._refused(form)
        except Exception as error:  # noqa: BLE001  # the library raised it
            return Answer.failed(error)

    def remove(self, user: str, proof: str, session: str = "") -> Answer:
        """Delete the device as the admin site does. The views require a recent sign-in."""
        from allauth.mfa.models import Authenticator

        if proof != "support":
            return Answer(result=Result.UNSUPPORTED)
        Authenticator.objects.filter(user=self._owner(user)).delete()
        return OK

    def rows(self) -> Answer:
        from allauth.mfa.models import Authenticator

        return Answer(result=Result.ACCEPTED, text=repr(list(Authenticator.objects.values())))

    @staticmethod
    def _refused(form: Any) -> Answer:
        text = " ".join(message for messages in form.errors.values() for message in messages)
        return Answer(result=Result.REJECTED, text=text)

    @staticmethod
    def _owner(user: str) -> Any:
        from django.contrib.auth.models import User

        owner, _ = User.objects.get_or_create(username=user)
        return owner

    @staticmethod
    def _request(owner: Any, session_data: dict[str, Any], session: str = "") -> Any:
        """Return a request of the browser that *session* names. Each has an address of its own."""
        from allauth.core import context
        from django.test import RequestFactory

        number = zlib.crc32(f"{owner.username} {session}".encode())
        address = str(ipaddress.IPv4Address(number))
        request: Any = RequestFactory().post("/", REMOTE_ADDR=address)
        request.user, request.session = owner, session_data
        return context.request_context(request)
