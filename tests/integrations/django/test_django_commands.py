"""The management commands."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import modify_settings
from django_otp.plugins.otp_totp.models import TOTPDevice

from support import MASTER, Enrolled, enroll, phone_with
from vmfa import Actor, DerivedKeys, DeviceRegistry, Key, NoDevice, PrincipalId
from vmfa.integrations.django.management import base
from vmfa.integrations.django.models import PrincipalRecord, StoredEvent
from vmfa.integrations.django.sessions import principal_of
from vmfa.testing import FrozenClock

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
SERVICE = Actor.trusted_service("test")


def run(name: str, *args: Any, **options: Any) -> str:
    out = io.StringIO()
    call_command(name, *args, stdout=out, **options)
    return out.getvalue()


def failed(name: str, *args: Any, **options: Any) -> tuple[str, str]:
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(name, *args, stdout=out, **options)
    return out.getvalue(), str(caught.value)


# Health


def test_health() -> None:
    assert "is as vmfa needs it" in run("vmfa_health")
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous = OFF")
        out, error = failed("vmfa_health")
        cursor.execute("PRAGMA synchronous = FULL")
    assert "PRAGMA synchronous is 0" in out
    assert error.startswith("1 problems")


# Histories


def test_verify(enrolled: Enrolled) -> None:
    assert run("vmfa_verify") == "1 histories are intact\n"
    StoredEvent.objects.filter(number=1).delete()
    out, error = failed("vmfa_verify")
    assert out.startswith(f"{enrolled.principal}: ")
    assert error == "1 of 1 histories are not intact"


def test_prune(enrolled: Enrolled, registry: DeviceRegistry, clock: FrozenClock) -> None:
    enrolled.sign_in()
    for _ in range(2):
        registry.deactivate(enrolled.principal, by=SERVICE)
        clock.advance(40 * 86400)
        enroll(registry, clock, enrolled.principal)
    assert run("vmfa_prune", "30") != "0 events were redacted\n"
    assert StoredEvent.objects.filter(document=None, salt=None).exists()
    assert run("vmfa_verify") == "1 histories are intact\n"
    assert failed("vmfa_prune", "0")[1] == "days must be at least 1"


def test_one_broken_history_does_not_stop_the_others(
    enrolled: Enrolled, registry: DeviceRegistry, clock: FrozenClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(base, "PAGE", 1)
    other = enroll(registry, clock, PrincipalId.user("main", "zoe"))
    StoredEvent.objects.filter(name=enrolled.principal.name).delete()
    out, error = failed("vmfa_prune", "1")
    assert str(enrolled.principal) in out
    assert str(other.principal) not in out
    assert error == "1 histories could not be pruned"


# Master keys


def test_reseal(enrolled: Enrolled, configure: Callable[..., None]) -> None:
    configure(KEYS=DerivedKeys(bytes(range(1, 33)), MASTER))
    assert run("vmfa_reseal") == "1 of 1 records were resealed\n"
    assert run("vmfa_reseal") == "0 of 1 records were resealed\n"
    PrincipalRecord.objects.update(revision=99)
    out, error = failed("vmfa_reseal")
    assert str(enrolled.principal) in out
    assert error == "1 records could not be resealed"


# Imports


@pytest.fixture
def otp_device(user: User) -> Any:
    device = TOTPDevice.objects.create(user=user, name="phone", confirmed=True)
    yield device
    TOTPDevice.objects.all().delete()


def test_a_device_of_django_otp_is_imported_in_place(
    otp_device: TOTPDevice, user: User, registry: DeviceRegistry, clock: FrozenClock
) -> None:
    out = run("vmfa_import", "django-otp")
    assert f"totpdevice {otp_device.pk}, user {user.pk}: adopted\n" in out
    clock.advance(30)
    phone = phone_with(Key(otp_device.bin_key), clock)
    assert registry.verify(principal_of(user), phone.code())
    assert "1 already adopted" in run("vmfa_import", "django-otp")


def test_a_dry_run_stores_nothing(
    otp_device: TOTPDevice, user: User, registry: DeviceRegistry
) -> None:
    assert "dry run: 1 adopted" in run("vmfa_import", "django-otp", dry_run=True)
    with pytest.raises(NoDevice):
        registry.device(principal_of(user), by=SERVICE)


def test_a_device_that_cannot_be_imported_fails_the_command(
    otp_device: TOTPDevice, enrolled: Enrolled
) -> None:
    TOTPDevice.objects.create(user=otp_device.user, name="new", confirmed=False)
    TOTPDevice.objects.create(user=otp_device.user, name="long", tolerance=2)
    out, error = failed("vmfa_import", "django-otp")
    assert "never confirmed" in out
    assert "0 adopted, 0 already adopted, 2 conflict, 1 refused" in out
    assert error == "some devices were not imported"


def test_a_device_of_django_allauth_is_imported_in_place(
    user: User, registry: DeviceRegistry, clock: FrozenClock
) -> None:
    from allauth.mfa.models import Authenticator

    rows = [
        Authenticator.objects.create(user=user, type="totp", data={"secret": SECRET}),
        Authenticator.objects.create(user=user, type="recovery_codes", data={}),
    ]
    try:
        assert "1 adopted" in run("vmfa_import", "django-allauth")
    finally:
        for row in rows:
            row.delete()
    clock.advance(60)
    code = phone_with(Key.from_base32(SECRET), clock).code()
    assert registry.verify(principal_of(user), code)


def test_a_device_without_a_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from vmfa.importers.django_otp import entries
    from vmfa.integrations.django.management.commands import vmfa_import

    row = {
        "confirmed": True, "key": "00" * 20, "step": 30, "t0": 0, "digits": 6, "tolerance": 1,
        "drift": 0, "last_t": -1, "throttling_failure_count": 0,
    }
    for number, owner in enumerate(("404", "no number")):
        item = entries([{**row, "id": number, "user_id": owner}])
        monkeypatch.setattr(vmfa_import, "_otp_items", lambda _, item=item: iter(item))
        assert "no user with this primary key" in failed("vmfa_import", "django-otp")[0]


def test_an_import_needs_a_key_source_and_the_other_app(
    configure: Callable[..., None]
) -> None:
    with modify_settings(INSTALLED_APPS={"remove": ["django_otp.plugins.otp_totp"]}):
        _, error = failed("vmfa_import", "django-otp")
    assert "django_otp.plugins.otp_totp is not in INSTALLED_APPS" in error
    configure(IMPORTED_KEYS=None)
    assert "IMPORTED_KEYS" in failed("vmfa_import", "django-otp")[1]
