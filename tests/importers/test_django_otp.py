"""django-otp: devices that its own code created, verified and throttled."""

from __future__ import annotations

import io
import json
from unittest.mock import patch

import django
import pytest
from django.conf import settings
from hypothesis import given, strategies as st

from batches import error_of, refusal_of, user
from leaks import assert_silent
from support import phone_with
from vmfa import Actor, AlreadyUsed, Key, Parameters, Throttled
from vmfa.importers.base import ImportedDevice, Rejected, Status, UnreadableSource
from vmfa.importers.django_otp import entries, read
from vmfa.importers.reading import HOTP

NOT_TOTP = "not a TOTP device: only those can be imported"
ROW = {
    "id": 7,
    "user_id": 42,
    "name": "default",
    "confirmed": True,
    "key": "00" * 20,
    "step": 30,
    "t0": 0,
    "digits": 6,
    "tolerance": 1,
    "drift": 0,
    "last_t": -1,
    "throttling_failure_timestamp": None,
    "throttling_failure_count": 0,
}


@pytest.fixture(scope="module")
def otp():
    """The models of django-otp, with a database in memory."""
    if not settings.configured:
        settings.configure(
            SECRET_KEY="for tests",
            USE_TZ=True,
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            INSTALLED_APPS=[
                "django.contrib.contenttypes",
                "django.contrib.auth",
                "django_otp",
                "django_otp.plugins.otp_totp",
                "django_otp.plugins.otp_hotp",
                "django_otp.plugins.otp_static",
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
    """A user with a device that django-otp created."""
    from django.contrib.auth.models import User

    owner = User.objects.create(username="alice")
    yield otp.TOTPDevice.objects.create(user=owner, name="phone", confirmed=True)
    owner.delete()


@pytest.fixture
def at(clock, person):
    """The clock of the test, which is the clock of django-otp too."""
    with patch("django_otp.plugins.otp_totp.models.time.time", clock):
        yield clock


def dumped() -> str:
    from django.core.management import call_command

    out = io.StringIO()
    call_command("dumpdata", stdout=out, verbosity=0)
    return out.getvalue()


def test_a_used_code_is_refused_and_the_next_one_verifies(run_import, registry, person, at):
    phone = phone_with(Key(person.bin_key), at)
    assert person.verify_token(phone.code())
    (outcome,) = run_import(read(dumped()))
    alice = user(str(person.user_id))
    assert (outcome.status, outcome.principal, outcome.where) == (
        Status.ADOPTED,
        alice,
        f"totpdevice {person.pk}",
    )
    assert outcome.device.last_step == person.last_t == at() // 30
    with pytest.raises(AlreadyUsed):
        registry.verify(alice, phone.code())
    assert registry.verify(alice, phone.code(1)).step == person.last_t + 1
    (event,) = registry.history(alice, by=Actor.trusted_service("test"))[:1]
    assert dict(event.details)["system"] == f"django-otp: totpdevice {person.pk}"


@pytest.mark.parametrize("side", [1, -1])
def test_drift_is_imported(run_import, registry, person, at, side):
    phone = phone_with(Key(person.bin_key), at)
    for off in (1, 2, 3):
        at.advance(300)
        assert person.verify_token(phone.code(side * off))
    (outcome,) = run_import(read(dumped()))
    assert outcome.device.drift == person.drift == side * 3
    at.advance(300)
    receipt = registry.verify(user(str(person.user_id)), phone.code(side * 4))
    assert receipt.step == at() // 30 + side * 4


def test_failures_are_imported(run_import, registry, person, at):
    for _ in range(3):
        at.advance(60)
        person.verify_token("000000")
        person.throttling_failure_timestamp = None  # its waiting time is over
    assert person.throttling_failure_count == 3
    (outcome,) = run_import(entries([row_of(person)]))
    assert outcome.device.failures == 3
    with pytest.raises(Throttled):
        registry.verify(user(str(person.user_id)), "000000")


def test_rows_and_dumps_give_the_same_devices(person):
    assert entries([row_of(person)]) == list(read(dumped()))


def test_other_parameters_are_imported(run_import, registry, person, at):
    person.digits, person.step, person.t0, person.tolerance = 8, 30, 0, 3
    person.save()
    (item,) = read(dumped())
    assert item.parameters == Parameters(digits=8)
    assert item.notes == ("tolerance 3 is not imported: the policy decides",)
    run_import([item])
    at.advance(60)
    code = phone_with(Key(person.bin_key), at, Parameters(digits=8)).code()
    assert registry.verify(user(str(person.user_id)), code)


def test_t0_is_imported(run_import, registry, clock):
    (item,) = entries([{**ROW, "step": 60, "t0": 30}])
    assert item.parameters == Parameters(period=60, t0=30)
    run_import([item])
    clock.advance(180)
    assert registry.verify(user("42"), phone_with(Key(bytes(20)), clock, item.parameters).code())


def test_other_kinds_of_device(otp, person):
    from django_otp.plugins.otp_hotp.models import HOTPDevice
    from django_otp.plugins.otp_static.models import StaticDevice

    hotp = HOTPDevice.objects.create(user=person.user)
    static = StaticDevice.objects.create(user=person.user)
    static.token_set.create(token="12345678")
    by_place = {item.where: item for item in read(dumped())}
    assert by_place[f"otp_hotp.hotpdevice {hotp.pk}"].reason == HOTP
    assert by_place[f"otp_static.staticdevice {static.pk}"].reason == NOT_TOTP
    assert isinstance(by_place[f"totpdevice {person.pk}"], ImportedDevice)
    assert len(by_place) == 3
    assert {item.owner for item in by_place.values()} == {str(person.user_id)}


def test_natural_keys(person):
    (record,) = [r for r in json.loads(dumped()) if r["model"] == "otp_totp.totpdevice"]
    record["fields"]["user"] = ["alice"]
    (item,) = read(json.dumps([record]))
    assert item.owner == "alice"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"confirmed": False},
            "the device was never confirmed, so it is not assigned to the user",
        ),
        ({"confirmed": 1}, "confirmed must be of type bool"),
        ({"key": "zz"}, "key must be hexadecimal"),
        ({"key": "00" * 15}, error_of(lambda: Key(b"short"))),
        ({"key": None}, "key is missing"),
        ({"digits": 5}, refusal_of(digits=5)),
        ({"digits": "6"}, "digits must be of type int"),
        ({"step": 0}, refusal_of(period=0)),
        ({"last_t": None}, "last_t is missing"),
        ({"drift": True}, "drift must be of type int"),
        ({"user_id": None}, "user is missing or is not a single id"),
        ({"user_id": ["a", "b"]}, "user is missing or is not a single id"),
        ({"id": None}, "id is missing"),
    ],
)
def test_a_row_is_rejected_with_its_reason(changes, reason):
    (item,) = entries([{**ROW, **changes}])
    where, owner = f"totpdevice {changes.get('id', 7)}", "" if "user_id" in changes else "42"
    assert item == Rejected(where=where, owner=owner, reason=reason)


def test_short_keys_only_if_allowed():
    row = {**ROW, "key": "00" * 10}
    (item,) = entries([row], unsafe_short_keys=True)
    assert isinstance(item, ImportedDevice)
    dump = json.dumps([{"model": "otp_totp.totpdevice", "pk": 7, "fields": row}])
    assert list(read(dump, unsafe_short_keys=True)) == [item]
    assert [type(item) for item in (*read(dump), *entries([row]))] == [Rejected, Rejected]


def test_rows_of_older_releases_without_tolerance_and_failures():
    (item,) = entries(
        [
            {
                name: ROW[name]
                for name in ROW
                if name not in ("tolerance", "throttling_failure_count")
            }
        ]
    )
    assert (item.failures, item.notes) == (0, ())


@pytest.mark.parametrize("tolerance", [0, 1, 2])
def test_a_tolerance_other_than_the_default_is_noted(tolerance):
    (item,) = entries([{**ROW, "tolerance": tolerance}])
    assert item.notes == (
        () if tolerance == 1 else (f"tolerance {tolerance} is not imported: the policy decides",)
    )


def test_other_models_are_ignored():
    models = ("fleet.device", "otp_fleet.car", "auth.user", "", None, 5, ["otp_totp.totpdevice"])
    assert not list(read(json.dumps([{"model": model, "pk": 1} for model in models])))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            "mfa.authenticator",
            "a device of django-allauth: import the dump with the format django-allauth",
        ),
        (
            "MFA.Authenticator",
            "a device of django-allauth: import the dump with the format django-allauth",
        ),
        ("mfa.mfa_key", NOT_TOTP),
        ("two_factor.phonedevice", NOT_TOTP),
        ("two_factor_webauthn.webauthndevice", NOT_TOTP),
        ("otp_email.emaildevice", NOT_TOTP),
        ("otp_hotp.hotpdevice", HOTP),
    ],
)
def test_a_second_factor_of_another_package_is_named(model, reason):
    record = {"model": model, "pk": 7, "fields": {"user": 42, "type": "totp"}}
    (item,) = read(json.dumps([record]))
    assert item == Rejected(where=f"{model.lower()} 7", owner="42", reason=reason)


def test_a_device_without_fields_is_named():
    (item,) = read(json.dumps([{"model": "otp_totp.totpdevice", "pk": 7}]))
    assert item == Rejected(where="totpdevice 7", owner="", reason="fields is missing")
    (item,) = read(json.dumps([{"model": "otp_hotp.hotpdevice", "pk": 7}]))
    assert (item.owner, item.reason) == ("", HOTP)


@pytest.mark.parametrize("model", ["otp_totp.totpdevice", "otp_\x1b]0;x\x07device.device"])
def test_a_dump_cannot_control_the_terminal(model):
    record = {"model": model, "pk": "\x1b[2J\nadopted: line 1", "fields": {}}
    (item,) = read(json.dumps([record]))
    assert item.where.isprintable()
    assert "\\x1b[2J\\nadopted" in item.where


def test_two_devices_of_one_user_are_a_conflict(run_import):
    rows = [ROW, {**ROW, "id": 8, "key": "11" * 20}]
    assert [outcome.status for outcome in run_import(entries(rows))] == [
        Status.ADOPTED,
        Status.CONFLICT,
    ]


@pytest.mark.parametrize("end", ["", "}", ", 1]", ', {"key": 1, "key": 2}]'])
def test_an_unreadable_source_shows_no_key(end):
    fields = {**ROW, "key": "abcdef0123" * 4}
    dump = json.dumps([{"model": "otp_totp.totpdevice", "pk": 7, "fields": fields}] * 2)[:-1] + end
    with pytest.raises(UnreadableSource) as caught:
        list(read(dump))
    assert_silent(caught.value, "abcdef0123")


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "model": st.sampled_from(
                    ["otp_totp.totpdevice", "OTP_TOTP.TOTPDevice", "otp_hotp.hotpdevice"]
                )
                | st.text()
            },
            optional={
                "pk": st.integers() | st.none(),
                "fields": st.dictionaries(
                    st.sampled_from([*ROW, "user"]),
                    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()),
                )
                | st.none(),
            },
        )
    )
)
def test_any_dump_gives_devices_or_reasons(records):
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in read(json.dumps(records)))


def row_of(device) -> dict[str, object]:
    (row,) = type(device).objects.filter(pk=device.pk).values()
    return row
