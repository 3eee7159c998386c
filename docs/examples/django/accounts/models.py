"""Users with an e-mail address and a password, and their sessions."""

from __future__ import annotations

from typing import Any, ClassVar
from unicodedata import normalize
from uuid import uuid4

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models


def normalized(email: str) -> str:
    """Return the spelling of an address under which its user is stored."""
    return normalize("NFC", email).strip().lower()


class UserManager(BaseUserManager["User"]):
    """Creates users, and finds them by their e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a user."""
        user = self.model(email=normalized(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create an administrator, for ``manage.py createsuperuser``."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        """Return the user who signs in with this address."""
        return self.get(email=normalized(username or ""))


class User(AbstractUser):
    """A user. The id is random and never reused; the e-mail address may change.

    ``has_device`` is the service's own record of the fact that this user must present a code.
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    email = models.EmailField("e-mail address", unique=True)
    has_device = models.BooleanField(default=False)
    username = first_name = last_name = None  # type: ignore[assignment]  # Django's way to drop them

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()  # type: ignore[assignment]  # ours has other arguments

    def record_device(self, has_device: bool) -> None:
        """Record that the user must present a code from now on, or that the device is gone."""
        self.has_device = has_device
        self.save(update_fields=["has_device"])

    def end_sessions(self, *, except_for: str | None = "") -> None:
        """End every session of the user, except for the one with this key."""
        Session.objects.filter(user_id=self.pk).exclude(session_key=except_for or "").delete()


class Session(AbstractBaseSession):
    """A session that knows its user, so that all sessions of a user can be ended."""

    user_id = models.UUIDField(null=True, db_index=True, editable=False)

    @classmethod
    def get_session_store_class(cls) -> Any:
        """Return the store that reads these rows."""
        from .sessions import SessionStore

        return SessionStore

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the session with its user."""
        self.user_id = self.get_decoded().get(SESSION_KEY)
        super().save(*args, **kwargs)
