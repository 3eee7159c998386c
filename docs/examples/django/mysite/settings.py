"""The settings. What protects the pages is written out; the rest are defaults of Django."""

import os
from pathlib import Path

from vmfa import DerivedKeys, Policy

BASE_DIR = Path(__file__).parents[1]
DEBUG = False
SECRET_KEY = os.environ["DJANGO_SECRET_KEY"]
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"
USE_TZ = True

# The database of the project holds the devices as well.
DATABASE = Path("db.sqlite3")
DATABASE.touch(mode=0o600)  # only this account may read it
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATABASE.absolute(),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;",
        },
    }
}

# The first factor
AUTH_USER_MODEL = "accounts.User"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign-in"

# The second factor
VMFA = {
    "KEYS": (
        DerivedKeys.from_env("VMFA_MASTER_KEY")
        if "VMFA_MASTER_KEY" in os.environ
        else DerivedKeys.from_file(os.environ.get("VMFA_KEY_FILE", "master.key"))
    ),
    "ISSUER": "Example",
    "ACCOUNT": "main",  # this service has one tenant
    "POLICY": Policy(known_clients=True, recovery_codes=10),
    "CODE_URL": "code",
    "ENROLL_URL": "device",
}

# Sessions and forms
SESSION_ENGINE = "accounts.sessions"
SESSION_EXPIRE_AT_BROWSER_CLOSE = True  # accounts.middleware ends them earlier
SESSION_COOKIE_NAME = "__Host-session"
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_NAME = "__Host-csrf"
CSRF_COOKIE_SECURE = True
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "accounts.views.errors.old_page"
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024  # bytes of a form

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "vmfa.integrations.django",
    "accounts",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "accounts.middleware.SecurityHeaders",
    "accounts.middleware.RateLimit",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "accounts.middleware.SessionLimits",
    "accounts.middleware.VmfaErrors",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR.parent / "service" / "static"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DEFAULT_FROM_EMAIL = "Example <security@example.com>"
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"  # yours sends them
