"""The example application with Django, in a process of its own: its settings are global."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from support import MASTER, authenticated
from vmfa import Actor, DerivedKeys, PrincipalId
from vmfa.testing import FrozenClock

DATABASE = "db.sqlite3"
PROJECT = Path(__file__).parents[1] / "docs" / "examples" / "django"
CLOCK = FrozenClock()  # of the process with the application


@dataclass(frozen=True)
class ExampleUser:
    """What a test may know about a user."""

    id: str
    email: str


class Application:
    """The application, in the process that serves it."""

    def __init__(self, directory: str) -> None:
        """Prepare the application, and make an empty database in *directory*."""
        os.chdir(directory)
        os.environ.update(
            DJANGO_SETTINGS_MODULE="django_example_settings",
            DJANGO_SECRET_KEY="for tests",
            VMFA_MASTER_KEY=MASTER.hex(),
        )
        sys.path.append(str(PROJECT))
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        self.close()
        self._empty = Path(directory, DATABASE)

    def serve(self) -> int:
        """Serve the application in threads, as ``runserver --insecure`` does; return the port."""
        from threading import Thread

        from django.contrib.staticfiles.handlers import StaticFilesHandler
        from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

        from mysite.wsgi import application

        server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
        server.set_app(StaticFilesHandler(application))
        Thread(target=server.serve_forever, daemon=True).start()
        return int(server.server_port)

    def start_again(self, directory: str) -> None:
        """Forget everything, and use an empty database in *directory*."""
        from django.core import mail
        from django.core.cache import cache as limits
        from django.db import connections

        path = Path(directory, DATABASE)
        shutil.copy(self._empty, path)
        connections.settings["default"]["NAME"] = str(path)
        limits.clear()
        mail.outbox = []  # type: ignore[attr-defined]  # as the backend for tests declares it

    def set_clock(self, now: float) -> None:
        CLOCK.set(now)

    def add(self, email: str, password: str, is_admin: bool) -> ExampleUser:
        from accounts.models import User

        user = User.objects.create_user(email, password, is_staff=is_admin)
        self.close()
        return ExampleUser(str(user.pk), user.email)

    def users(self) -> list[ExampleUser]:
        from accounts.models import User

        users = [ExampleUser(str(user.pk), user.email) for user in User.objects.all()]
        self.close()
        return users

    def sessions(self) -> str:
        """Return the content of all sessions: the table holds it compressed."""
        from accounts.models import Session

        content = str([session.get_decoded() for session in Session.objects.all()])
        self.close()
        return content

    def mails(self) -> list[str]:
        """Return the texts of the e-mails to users."""
        from django.core import mail

        return [str(message.body) for message in mail.outbox]  # type: ignore[attr-defined]

    def change_device(self, principal: PrincipalId, changes: dict[str, Any]) -> None:
        from vmfa.integrations.django.registry import get_store

        store = get_store()
        before = store.load(principal)
        assert before.device is not None
        device = replace(before.device, **changes)
        after = replace(before, revision=before.revision + 1, device=device)
        assert store.commit(before, authenticated(after, DerivedKeys(MASTER)), [])
        self.close()

    def remove_device(self, principal: PrincipalId) -> None:
        from vmfa.integrations.django.registry import get_registry

        get_registry().deactivate(principal, by=Actor.trusted_service("test"), reason="stolen")
        self.close()

    def lose_devices(self) -> None:
        from vmfa.integrations.django.models import PrincipalRecord

        PrincipalRecord.objects.all().delete()
        self.close()

    def close(self) -> None:
        """Close the connections of this thread."""
        from django.db import connections

        connections.close_all()


class Process(BaseManager):
    """A process with the application, and calls into it."""


Process.register("Application", Application)


@cache
def the_application() -> tuple[Any, int]:
    """Return the application, in a process that ends with this one, and its port."""
    folder = Path(mkdtemp(prefix="vmfa-django-"))
    process = Process(ctx=get_context("spawn"))
    process.start()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(process.shutdown)
    application = process.Application(str(folder))  # type: ignore[attr-defined]
    return application, application.serve()


class RemoteClock(FrozenClock):
    """A clock that moves the clock of the application with it."""

    def __init__(self, application: Any) -> None:
        super().__init__()
        self._application = application
        self.set(self.now)

    def set(self, now: float) -> None:
        super().set(now)
        self._application.set_clock(now)

    def advance(self, seconds: float) -> None:
        self.set(self.now + seconds)
