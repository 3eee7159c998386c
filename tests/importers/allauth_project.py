"""A Django project with django-allauth: it enrolls a user and prints ``dumpdata mfa``."""

from __future__ import annotations

import sys

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="for tests",
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

from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes  # noqa: E402
from allauth.mfa.totp.internal.auth import TOTP  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402

call_command("migrate", verbosity=0)
alice = User.objects.create(username="alice")
TOTP.activate(alice, sys.argv[1])
RecoveryCodes.activate(alice)
call_command("dumpdata", "mfa", stdout=sys.stdout)
