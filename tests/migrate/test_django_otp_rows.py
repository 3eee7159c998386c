"""django-otp: devices that its own code made, verified and throttled."""

from __future__ import annotations

import io
import json
from unittest.mock import patch

import django
import pytest
from django.conf import settings
from hypothesis import given, strategies as st

from batches import refusal_of, user
from support import Phone
from vmfa import Actor, AlreadyUsed, Key, Parameters, Throttled
from vmfa.importers.base import ImportedDevice, Rejected, Status
from vmfa.importers.django_otp import entries, read

ROW = {
    "id": 7, "user_id": 42, "name": "default", "confirmed": True, "key": "00" * 20, "step": 30, "t0": 0, "digits": 6,
    "tolerance": 1, "drift": 0, "last_t": -1, "throttling_failure_timestamp": None, "throttling_failure_count": 0,
}


@pytest.fixture(scope="module")
def otp():
    """django-otp's models over a database in memory."""
    if not settings.configured:
        settings.configure(
            SECRET_KEY="for tests", USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.AutoField",
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            INSTALLED_APPS=[
                "django.contrib.contenttypes", "django.contrib.auth", "django_otp", "django_otp.plugins.otp_totp",
                "django_otp.plugins.otp_hotp", "django_otp.plugins.otp_static",
            ],
        )
    django.setup()
    from django.core.management import call_command
    from django.db import connection
    from django_otp.plugins.otp_totp import models

    call_command("migrate", verbosity=0)
    yield models
    connection.close()


@pytest.fixture
def person(otp):
    """A user with a device, which django-otp made."""
    from django.contrib.auth.models import User

    owner = User.objects.create(username="alice")
    yield otp.TOTPDevice.objects.create(user=owner, name="phone", confirmed=True)
    owner.delete()


@pytest.fixture
def at(clock, person):
    """django-otp's clock is the test's."""
    with patch("django_otp.plugins.otp_totp.models.time.time", clock):
        yield clock


def dumped() -> str:
    from django.core.management import call_command

    out = io.StringIO()
    call_command("dumpdata", stdout=out, verbosity=0)
    return out.getvalue()


def test_what_django_otp_accepted_is_spent_and_the_next_code_is_not(importing, registry, person, at):
    phone = Phone(Key(person.bin_key), at)
    assert person.verify_token(phone.code())
    (told,) = importing(read(dumped()))
    alice = user(str(person.user_id))
    assert (told.fate, told.principal, told.where) == (Status.ADOPTED, alice, f"totpdevice {person.pk}")
    assert told.device.last_step == person.last_t == at() // 30
    with pytest.raises(AlreadyUsed):
        registry.verify(alice, phone.code())
    assert registry.verify(alice, phone.code(1)).step == person.last_t + 1
    (event,) = registry.history(alice, by=Actor.trusted_service("test"))[:1]
    assert dict(event.details)["source"] == f"django-otp: totpdevice {person.pk}"


@pytest.mark.parametrize("side", [1, -1])
def test_the_drift_that_django_otp_learnt_is_ours(importing, registry, person, at, side):
    phone = Phone(Key(person.bin_key), at)
    for off in (1, 2, 3):
        at.advance(300)
        assert person.verify_token(phone.code(side * off))
    (told,) = importing(read(dumped()))
    assert told.device.drift == person.drift == side * 3
    at.advance(300)
    receipt = registry.verify(user(str(person.user_id)), phone.code(side * 4))
    assert receipt.step == at() // 30 + side * 4


def test_failures_go_on_being_counted(importing, registry, person, at):
    for _ in range(3):
        at.advance(60)
        person.verify_token("000000")
        person.throttling_failure_timestamp = None  # its waiting time is over
    assert person.throttling_failure_count == 3
    (told,) = importing(entries([row_of(person)]))
    assert told.device.failures == 3
    with pytest.raises(Throttled):
        registry.verify(user(str(person.user_id)), "000000")


def test_rows_and_dumps_say_the_same(person):
    assert entries([row_of(person)]) == read(dumped())


def test_shapes_that_django_otp_allows(importing, registry, person, at):
    person.digits, person.step, person.t0, person.tolerance = 8, 30, 0, 3
    person.save()
    (item,) = read(dumped())
    assert item.parameters == Parameters(digits=8)
    assert item.notes == ("tolerance was 3: the policy's window replaces it",)
    importing([item])
    at.advance(60)
    code = Phone(Key(person.bin_key), at, Parameters(digits=8)).code()
    assert registry.verify(user(str(person.user_id)), code)


def test_t0_is_kept(importing, registry, clock):
    (item,) = entries([{**ROW, "step": 60, "t0": 30}])
    assert item.parameters == Parameters(period=60, t0=30)
    importing([item])
    clock.advance(180)
    assert registry.verify(user("42"), Phone(Key(bytes(20)), clock, item.parameters).code())


def test_other_kinds_of_device(otp, person):
    from django_otp.plugins.otp_hotp.models import HOTPDevice
    from django_otp.plugins.otp_static.models import StaticDevice

    hotp = HOTPDevice.objects.create(user=person.user)
    static = StaticDevice.objects.create(user=person.user)
    static.token_set.create(token="12345678")
    found = {item.where: item for item in read(dumped())}
    assert found[f"otp_hotp.hotpdevice {hotp.pk}"].reason == "HOTP: only time-based devices are assigned"
    assert found[f"otp_static.staticdevice {static.pk}"].reason == "this is no TOTP device"
    assert isinstance(found[f"totpdevice {person.pk}"], ImportedDevice)
    assert len(found) == 3
    assert {item.owner for item in found.values()} == {"", str(person.user_id)}


def test_natural_keys(person):
    (record,) = [r for r in json.loads(dumped()) if r["model"] == "otp_totp.totpdevice"]
    record["fields"]["user"] = ["alice"]
    (item,) = read(json.dumps([record]))
    assert item.owner == "alice"


@pytest.mark.parametrize(("changes", "reason"), [
    ({"confirmed": False}, "the device was not confirmed: it is assigned to nobody yet"),
    ({"confirmed": 1}, "confirmed is of type bool"),
    ({"key": "zz"}, "key is not hexadecimal"),
    ({"key": "00" * 15}, "a key has 16 to 1024 bytes (RFC4226-4-R6)"),
    ({"key": None}, "key is missing"),
    ({"digits": 5}, "digits is 6, 7 or 8 (RFC4226-5.3-DIGITS)"),
    ({"digits": "6"}, "digits is of type int"),
    ({"step": 0}, refusal_of(period=0)),
    ({"last_t": None}, "last_t is missing"),
    ({"drift": True}, "drift is of type int"),
    ({"user_id": None}, "user is missing, or is no single id"),
    ({"user_id": ["a", "b"]}, "user is missing, or is no single id"),
    ({"id": None}, "id is missing"),
])
def test_rows_that_are_not_adopted_and_why(changes, reason):
    (item,) = entries([{**ROW, **changes}])
    where, owner = f"totpdevice {changes.get('id', 7)}", "" if "user_id" in changes else "42"
    assert item == Rejected(where=where, owner=owner, reason=reason)


def test_short_keys_by_name():
    row = {**ROW, "key": "00" * 10}
    (item,) = entries([row], unsafe_short_keys=True)
    assert isinstance(item, ImportedDevice)
    dump = json.dumps([{"model": "otp_totp.totpdevice", "pk": 7, "fields": row}])
    assert read(dump, unsafe_short_keys=True) == [item]
    assert [type(item) for item in (*read(dump), *entries([row]))] == [Rejected, Rejected]


def test_older_rows_that_know_no_tolerance_and_no_failures():
    (item,) = entries([{name: ROW[name] for name in ROW if name not in ("tolerance", "throttling_failure_count")}])
    assert (item.failures, item.notes) == (0, ())


@pytest.mark.parametrize("tolerance", [0, 1, 2])
def test_a_tolerance_that_is_not_the_usual_one_is_noted(tolerance):
    (item,) = entries([{**ROW, "tolerance": tolerance}])
    assert item.notes == (() if tolerance == 1 else (f"tolerance was {tolerance}: the policy's window replaces it",))


def test_devices_of_other_packages_are_passed_over():
    assert read(json.dumps([{"model": model, "pk": 1} for model in ("fleet.device", "otp_fleet.car", None)])) == []


@given(st.lists(st.fixed_dictionaries(
    {"model": st.sampled_from(["otp_totp.totpdevice", "OTP_TOTP.TOTPDevice", "otp_hotp.hotpdevice"]) | st.text()},
    optional={"pk": st.integers() | st.none(), "fields": st.dictionaries(
        st.sampled_from([*ROW, "user"]), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
    ) | st.none()},
)))
def test_any_dump_is_entries_or_reasons(records):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(json.dumps(records)))


def row_of(device) -> dict[str, object]:
    (row,) = type(device).objects.filter(pk=device.pk).values()
    return row
