"""The setting VMFA, the system checks and the registry that they build."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections
from django.test.utils import override_settings

import vmfa.integrations.django
from support import Enrolled
from vmfa import AuditEvent, MissingExtra, Policy, PrincipalId
from vmfa.events import EventType
from vmfa.integrations.django import checks
from vmfa.integrations.django.conf import Configuration
from vmfa.integrations.django.registry import get_registry, get_store
from vmfa.integrations.django.sessions import principal_of
from vmfa.integrations.django.signals import audit_event

Configure = Callable[..., None]


def ids(**options: Any) -> list[str]:
    return [message.id for message in run_checks(**options) if message.id.startswith("vmfa.")]


def test_a_right_project_has_no_message() -> None:
    assert ids() == ids(databases=["default"], tags=["database"]) == []


def test_the_migration_is_complete() -> None:
    call_command("makemigrations", "vmfa", check=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize(("changes", "words"), [
    ({"KEYS": None}, "VMFA['KEYS'] is missing"),
    ({"ISSUER": None}, "VMFA['ISSUER'] is missing"),
    ({"ACCOUNT": 5}, "VMFA['ACCOUNT'] must be of type str"),
    ({"KEYS": b"0" * 32}, "VMFA['KEYS'] must be a key source"),
    ({"IMPORTED_KEYS": "x"}, "VMFA['IMPORTED_KEYS'] must be a key source"),
    ({"POLICY": {}}, "VMFA['POLICY'] must be of type Policy"),
    ({"ISSUERS": "x"}, "VMFA has an unknown key 'ISSUERS'"),
    ({"ISSUER": "a:b"}, ""),
    ({"PRINCIPAL": "no.such.module"}, "no"),
])
def test_a_wrong_setting_is_found(
    configure: Configure, changes: dict[str, Any], words: str
) -> None:
    configure(**changes)
    (message,) = checks.check_settings()
    assert message.id == "vmfa.E001"
    assert words in message.msg


def test_a_missing_setting_is_found() -> None:
    with override_settings(VMFA=None):
        assert ids() == ["vmfa.E001"]
        assert ids(databases=["default"], tags=["database"]) == []
        with pytest.raises(ImproperlyConfigured, match="VMFA is missing"):
            Configuration()


@pytest.mark.parametrize(("name", "value", "expected"), [
    ("ATOMIC_REQUESTS", True, "vmfa.E003"),
    ("AUTOCOMMIT", False, "vmfa.E004"),
    ("OPTIONS", {"isolation_level": "read uncommitted"}, "vmfa.E005"),
])
def test_an_unsafe_transaction_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, expected: str
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, name, value)
    assert ids() == [expected]


def test_an_unknown_alias_is_found(configure: Configure) -> None:
    configure(DATABASE="other")
    assert get_store().alias == "other"
    assert ids() == ["vmfa.E002"]


def test_a_database_that_is_not_durable_is_found() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("PRAGMA synchronous = OFF")
        found = ids(databases=["default"], tags=["database"])
        cursor.execute("PRAGMA synchronous = FULL")
    assert found == ["vmfa.E006"]


def test_the_policy_and_the_principals_are_those_of_the_project(
    configure: Configure, user: Any
) -> None:
    configure(POLICY=Policy(window=2), PRINCIPAL="test_django_settings.by_name")
    assert get_registry().operations.policy.window == 2
    assert principal_of(user) == PrincipalId.user("main", "alice")
    configure(PRINCIPAL=lambda user: PrincipalId.root("main"))
    assert principal_of(user).is_root
    configure(POLICY=None)
    assert get_registry().operations.policy == Policy()


def by_name(user: Any) -> PrincipalId:
    return PrincipalId.user("main", user.username)


def test_the_registry_is_built_again_only_if_the_setting_changes(configure: Configure) -> None:
    first = get_registry()
    with override_settings(USE_TZ=False):
        assert get_registry() is first
    configure(ISSUER="Other")
    assert get_registry() is not first


def test_every_event_is_a_signal(
    enrolled: Enrolled, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[AuditEvent] = []

    def receive(event: AuditEvent, **_: Any) -> None:
        events.append(event)
        raise ValueError("a broken receiver")

    audit_event.connect(receive)
    try:
        with caplog.at_level(logging.CRITICAL):
            assert enrolled.sign_in()
    finally:
        audit_event.disconnect(receive)
    assert [event.type for event in events] == [EventType.ACCEPTED]


def test_the_core_does_not_import_django() -> None:
    code = (
        "import sys, vmfa, vmfa.registry, vmfa.aio, vmfa.audit, vmfa.cli.main;"
        "sys.exit('django' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_django_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'vmfa\[django\]'"):
        importlib.reload(vmfa.integrations.django)
