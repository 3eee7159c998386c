"""The Django project of the tests: the settings."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from support import MASTER
from vmfa import DerivedKeys, Parameters, Policy
from vmfa.keysources.sealed import SealedKeys
from vmfa.testing import FrozenClock

CLOCK = FrozenClock()
KEYS = DerivedKeys(MASTER)
VMFA = {
    "KEYS": KEYS,
    "IMPORTED_KEYS": SealedKeys(MASTER),
    "ISSUER": "Example",
    "ACCOUNT": "main",
    "CODE_URL": "code",
    "ENROLL_URL": "/enroll/",
    "CLOCK": CLOCK,
    "POLICY": Policy(known_clients=True, offers=(Parameters(), Parameters(digits=8))),
}
SETTINGS: dict[str, Any] = {
    "SECRET_KEY": "for tests",
    "USE_TZ": True,
    "ALLOWED_HOSTS": ["testserver"],
    "ROOT_URLCONF": "django_urls",
    "LOGIN_URL": "/login/",
    "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
    "DEFAULT_AUTO_FIELD": "django.db.models.AutoField",
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    "INSTALLED_APPS": [
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.admin",
        "allauth",
        "allauth.account",
        "allauth.mfa",
        "django_otp",
        "django_otp.plugins.otp_totp",
        "django_otp.plugins.otp_hotp",
        "django_otp.plugins.otp_static",
        "vmfa.integrations.django",
    ],
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "allauth.account.middleware.AccountMiddleware",
    ],
    "TEMPLATES": [{
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": [
            "django.template.context_processors.request",
            "django.contrib.auth.context_processors.auth",
            "django.contrib.messages.context_processors.messages",
        ]},
    }],
    "VMFA": VMFA,
}


def set_up() -> None:
    """Configure Django with this project, once in a process."""
    import django

    if not settings.configured:
        settings.configure(**SETTINGS)
        django.setup()
