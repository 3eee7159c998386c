"""The session engine: Django's own, with our table."""

from __future__ import annotations

from django.contrib.sessions.backends import db

from .models import Session


class SessionStore(db.SessionStore):
    """Keeps sessions in :class:`.models.Session`."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        """Return the model of the rows."""
        return Session
