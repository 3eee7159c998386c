"""django-allauth: authenticators as its tables and ``dumpdata`` contain them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from batches import error_of, user
from leaks import assert_silent
from support import phone_with
from vmfa import AlreadyUsed, Key, Parameters, UnsafeShortKey
from vmfa.importers.base import ImportedDevice, Rejected, Status, UnreadableSource
from vmfa.importers.django_allauth import entries, read

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
FIELDS = {
    "user": 42, "type": "totp", "data": {"secret": SECRET},
    "created_at": "2026-01-05T10:00:00Z", "last_used_at": "2026-03-01T08:30:00Z",
}


def dump(*fields: object, model: str = "mfa.authenticator") -> str:
    return json.dumps([
        {"model": model, "pk": number, "fields": one} for number, one in enumerate(fields, 1)
    ])


def test_an_authenticator_is_imported(run_import, registry, clock):
    (outcome,) = run_import(read(dump(FIELDS)))
    assert (outcome.status, outcome.principal) == (Status.ADOPTED, user("42"))
    assert outcome.where == "authenticator 1"
    phone = phone_with(Key.from_base32(SECRET), clock)
    with pytest.raises(AlreadyUsed):
        registry.verify(user("42"), phone.code())
    clock.advance(60)
    assert registry.verify(user("42"), phone.code())


def test_the_dump_of_a_real_project(run_import, registry, clock):
    pytest.importorskip("allauth.mfa")
    project = Path(__file__).with_name("allauth_project.py")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", str(project), SECRET], capture_output=True, text=True,
        check=True, timeout=60,
    )
    totp, recovery_codes = run_import(read(ran.stdout))
    assert (totp.status, totp.principal) == (Status.ADOPTED, user("1"))
    assert (recovery_codes.status, recovery_codes.owner) == (Status.REFUSED, "1")
    clock.advance(60)
    assert registry.verify(user("1"), phone_with(Key.from_base32(SECRET), clock).code())


def test_rows_and_dumps_give_the_same_devices():
    row = {"id": 1, "user_id": 42, **{k: FIELDS[k] for k in ("type", "data", "created_at")}}
    assert entries([row]) == list(read(dump(FIELDS)))


def test_encrypted_secrets_are_decrypted_by_the_project():
    fields = {**FIELDS, "data": {"secret": SECRET[::-1]}}
    (item,) = read(dump(fields), decrypt=lambda text: text[::-1])
    assert item.key == Key.from_base32(SECRET)
    row = {"id": 1, "user_id": 42, "type": "totp", "data": {"secret": SECRET[::-1]}}
    assert entries([row], decrypt=lambda text: text[::-1]) == [item]


def test_a_secret_that_cannot_be_decrypted_is_rejected():
    def decrypt(text: str) -> str:
        raise KeyError(text)

    (item,) = read(dump(FIELDS), decrypt=decrypt)
    assert item == Rejected(
        where="authenticator 1", owner="42", reason="decrypt() raised KeyError"
    )


def test_the_digits_and_the_period_of_the_settings():
    parameters = Parameters(digits=8, period=60)
    (item,) = read(dump(FIELDS), parameters=parameters)
    assert item.parameters == parameters
    row = {"id": 1, "user_id": 42, "type": "totp", "data": FIELDS["data"]}
    assert entries([row], parameters=parameters) == [item]


@pytest.mark.parametrize(("changes", "reason"), [
    ({"type": "recovery_codes"}, "recovery_codes cannot be imported: only TOTP can"),
    ({"type": "webauthn"}, "webauthn cannot be imported: only TOTP can"),
    ({"type": None}, "type must be totp"),
    ({"type": ["totp"]}, "type must be totp"),
    ({"data": None}, "data is missing"),
    ({"data": SECRET}, "data must be of type dict"),
    ({"data": {}}, "secret is missing"),
    ({"data": {"secret": 5}}, "secret must be of type str"),
    ({"data": {"secret": "11"}}, error_of(lambda: Key.from_base32("11"))),
    ({"data": {"secret": "JBSWY3DPEHPK3PXP"}}, error_of(lambda: Key(b"short"))),
])
def test_an_authenticator_is_rejected_with_its_reason(changes, reason):
    (item,) = read(dump({**FIELDS, **changes}))
    assert item == Rejected(where="authenticator 1", owner="42", reason=reason)


@pytest.mark.parametrize("owner", [None, True, 1.5, ["a", "b"], {}])
def test_an_authenticator_without_a_user_is_rejected(owner):
    (item,) = read(dump({**FIELDS, "user": owner}))
    assert (item.owner, item.reason) == ("", "user is missing or is not a single id")


def test_an_authenticator_without_fields_is_named():
    (item,) = read(dump(None))
    assert item == Rejected(where="authenticator 1", owner="", reason="type must be totp")


def test_devices_of_django_otp_are_named():
    (item,) = read(dump({"user": 1}, model="otp_totp.totpdevice"))
    reason = "a device of django-otp: import the dump with the format django-otp"
    assert item == Rejected(where="otp_totp.totpdevice 1", owner="1", reason=reason)
    assert not list(read(dump({}, model="auth.user")))


def test_short_keys_only_if_allowed():
    fields = {**FIELDS, "data": {"secret": "JBSWY3DPEHPK3PXP"}}
    (item,) = read(dump(fields), unsafe_short_keys=True)
    assert isinstance(item.key, UnsafeShortKey)
    row = {"id": 1, "user": 42, "type": "totp", "data": {"secret": "JBSWY3DPEHPK3PXP"}}
    assert entries([row], unsafe_short_keys=True) == [item]


def test_an_unreadable_source_shows_no_secret():
    with pytest.raises(UnreadableSource) as caught:
        list(read(dump(FIELDS, FIELDS)[:-1]))
    assert_silent(caught.value, SECRET)


SCALARS = st.none() | st.booleans() | st.integers() | st.text()


@given(st.lists(st.dictionaries(
    st.sampled_from(["user", "user_id", "id", "type", "data"]),
    SCALARS | st.sampled_from(["totp", FIELDS["data"]]) | st.dictionaries(st.text(), SCALARS),
)))
def test_any_rows_give_devices_or_reasons(rows):
    items = [*entries(rows), *read(dump(*rows))]
    assert all(isinstance(item, (ImportedDevice, Rejected)) for item in items)
