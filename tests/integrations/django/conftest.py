"""A Django project with an empty database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import django_project
import pytest

django_project.set_up()

from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test.utils import override_settings, setup_test_environment, teardown_test_environment  # noqa: E402

from postgres_server import database, server  # noqa: E402, F401  # fixtures
from support import START, Enrolled, enroll  # noqa: E402
from vmfa import DeviceRegistry  # noqa: E402
from vmfa.integrations.django.models import PrincipalRecord, StoredEvent  # noqa: E402
from vmfa.integrations.django.registry import get_registry  # noqa: E402
from vmfa.integrations.django.sessions import principal_of  # noqa: E402
from vmfa.testing import FrozenClock  # noqa: E402


@pytest.fixture(scope="session")
def _tables() -> Iterator[None]:
    setup_test_environment()
    call_command("migrate", verbosity=0)
    yield
    teardown_test_environment()


@pytest.fixture(autouse=True)
def _empty_database(_tables: None) -> Iterator[None]:
    django_project.CLOCK.set(START)
    yield
    for model in (PrincipalRecord, StoredEvent, Session, User):
        model.objects.all().delete()


@pytest.fixture
def clock() -> FrozenClock:
    return django_project.CLOCK


@pytest.fixture
def registry() -> DeviceRegistry:
    return get_registry()


@pytest.fixture
def user() -> User:
    return User.objects.create_user("alice", password="the first factor")


@pytest.fixture
def enrolled(registry: DeviceRegistry, clock: FrozenClock, user: User) -> Enrolled:
    """Alice, a user of the project, with an assigned device."""
    return enroll(registry, clock, principal_of(user))


@pytest.fixture
def configure() -> Iterator[Callable[..., None]]:
    """A function that changes keys of the setting VMFA; None removes a key."""
    overrides: list[Any] = []

    def change(**changes: Any) -> None:
        changed = {**django_project.VMFA, **changes}
        override = override_settings(
            VMFA={name: value for name, value in changed.items() if value is not None}
        )
        override.enable()
        overrides.append(override)

    yield change
    for override in reversed(overrides):
        override.disable()
