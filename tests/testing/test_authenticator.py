"""The clock and the authenticator app that users' tests get."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    InvalidType,
    InvalidValue,
    MemoryStore,
    Parameters,
    PrincipalId,
    totp,
)
from vmfa.keys import Key
from vmfa.keyuri import build
from vmfa.testing import AuthenticatorApp, FrozenClock

KEY = Key(b"12345678901234567890")


def uri(label: str = "alice", issuer: str = "Example", **parameters: int | str) -> str:
    checked = Parameters(**parameters)  # type: ignore[arg-type]  # the names of its fields
    return build(issuer=issuer, label=label, key=KEY, parameters=checked)


def test_the_clock_moves_only_when_it_is_moved() -> None:
    assert FrozenClock()() == 1_700_000_010  # the first second of a step
    clock = FrozenClock(100)
    clock.advance(0.5)
    assert clock() == clock() == clock.now == 100.5
    clock.set(7)
    assert clock() == 7


def test_a_device_is_enrolled_without_a_phone_and_without_waiting() -> None:
    clock = FrozenClock()
    registry = DeviceRegistry(
        MemoryStore(), keys=DerivedKeys(bytes(32)), issuer="Example", clock=clock
    )
    alice = PrincipalId.user("123456789012", "u-4711")
    me = Actor.signed_in(alice)
    opened = registry.open_enrollment(alice, by=me, label="alice")
    phone = AuthenticatorApp(clock).scan(opened.uri)
    report = registry.confirm_enrollment(
        alice, session=opened.session_id, by=me, **phone.pair()
    )
    assert report.steps_off == 0
    clock.advance(phone.seconds_left)
    assert registry.verify(alice, phone.code()).drift == 0


@pytest.mark.parametrize(
    "at", [119, 1111111109, 1111111111, 1234567890, 2000000000, 20000000000]
)
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize(("digits", "period"), [(6, 30), (8, 30), (7, 1), (8, 60)])
def test_the_app_computes_the_codes_of_the_library(
    at: int, algorithm: str, digits: int, period: int
) -> None:
    app = AuthenticatorApp(lambda: at)
    account = app.scan(uri(algorithm=algorithm, digits=digits, period=period))
    for off in (-1, 0, 1):
        wanted = totp(KEY, at + off * period, digits=digits, algorithm=algorithm, period=period)
        assert account.code(off) == wanted
    assert account.two_codes() == (account.code(-1), account.code())
    assert account.two_codes(3) == (account.code(2), account.code(3))
    assert account.pair(3) == {"code1": account.code(2), "code2": account.code(3)}


def test_the_app_computes_the_code_of_rfc_6238() -> None:
    account = AuthenticatorApp(FrozenClock(59)).scan(uri(digits=8))
    assert account.code() == "94287082"


def test_seconds_left_count_down_to_one() -> None:
    clock = FrozenClock(1_700_000_010)
    account = AuthenticatorApp(clock).scan(uri())
    assert account.seconds_left == 30
    clock.advance(29.9)
    assert account.seconds_left == 1
    clock.advance(0.1)
    assert account.seconds_left == 30


def test_an_account_with_a_t0_is_added_without_a_uri() -> None:
    clock = FrozenClock(1_700_000_010)
    parameters = Parameters(period=60, t0=25)
    account = AuthenticatorApp(clock).add(KEY, parameters)
    assert account.code() == totp(KEY, clock(), period=60, t0=25)
    assert account.seconds_left == 60 - (1_700_000_010 - 25) % 60
    assert (account.key, account.parameters, account.label) == (KEY, parameters, "account")


def test_without_parameters_an_account_has_the_usual_ones() -> None:
    account = AuthenticatorApp(FrozenClock()).add(KEY, label="alice")
    assert (account.parameters, account.label) == (Parameters(), "alice")


@pytest.mark.parametrize("digits", [6, 8])
def test_a_wrong_code_is_shown_at_no_near_step(digits: int) -> None:
    account = AuthenticatorApp(FrozenClock()).scan(uri(digits=digits))
    wrong = account.wrong_code()
    assert (len(wrong), wrong.isdigit()) == (digits, True)
    assert wrong not in {account.code(off) for off in range(-110, 111)}


def test_a_wrong_code_is_another_one_if_the_first_candidate_is_shown() -> None:
    account = AuthenticatorApp(FrozenClock(30 * 349_495)).add(KEY)
    assert account.code() == "000000"
    assert account.wrong_code() == "000001"


def test_a_wrong_code_in_the_first_steps_of_the_epoch() -> None:
    account = AuthenticatorApp(FrozenClock(59)).scan(uri())
    assert account.wrong_code() not in {account.code(off) for off in range(-1, 111)}


def test_the_clock_of_the_phone_is_wrong_and_drifts() -> None:
    clock = FrozenClock(1_700_000_010)
    fast = AuthenticatorApp(clock, skew=90)
    slow = AuthenticatorApp(clock, skew=-30, drift=-60)
    assert (fast.now - clock(), slow.now - clock()) == (90, -30)
    assert fast.scan(uri()).step - slow.scan(uri()).step == 4
    clock.advance(86400)
    assert (fast.now - clock(), slow.now - clock()) == (90, -90)


def test_an_app_has_many_accounts_with_different_labels() -> None:
    app = AuthenticatorApp(FrozenClock())
    for label, issuer in (
        ("alice", "Example"), ("bob", "Example"), ("alice", "Other"), ("alice", "Example"),
        ("alice", "Example"),
    ):
        account = app.scan(uri(label, issuer))
        assert app[account.label] is account
    assert app.labels == [
        "Example:alice", "Example:bob", "Other:alice", "Example:alice (2)", "Example:alice (3)",
    ]
    assert app.scan(f"otpauth://totp/alice?secret={'A' * 32}").label == "alice"
    app.remove("Example:bob")
    assert "Example:bob" not in app.labels


@pytest.mark.parametrize("text", [
    "otpauth://totp/x", "https://example.com", "", f"otpauth://hotp/x?secret={'A' * 32}&counter=0",
])
def test_an_app_scans_only_uris_of_time_based_devices(text: str) -> None:
    app = AuthenticatorApp(FrozenClock())
    with pytest.raises(InvalidValue):
        app.scan(text)
    assert app.labels == []


def test_an_account_hides_its_key() -> None:
    account = AuthenticatorApp(FrozenClock()).scan(uri())
    assert repr(account) == "<Account>"
    with pytest.raises(InvalidType):
        pickle.dumps(account)
    with pytest.raises(TypeError):
        vars(account)


def test_only_the_contract_needs_pytest() -> None:
    program = "import sys; sys.modules['pytest'] = None; import vmfa.testing"
    subprocess.run([sys.executable, "-I", "-c", program], check=True)


def test_two_codes_are_the_previous_and_the_present_one() -> None:
    clock = FrozenClock()
    account = AuthenticatorApp(clock).scan(uri())
    assert account.two_codes() == (account.code(-1), account.code(0))
    assert account.two_codes(+2) == (account.code(+1), account.code(+2))
    following = account.code(+1)
    clock.advance(30)
    assert account.code() == following


def test_a_phone_with_one_account_shows_its_codes() -> None:
    phone = AuthenticatorApp(FrozenClock())
    account = phone.scan(uri())
    assert phone.code(+3) == account.code(+3)
    assert phone.two_codes(-2) == account.two_codes(-2)
    assert phone.code() == account.code()
    assert phone.two_codes() == account.two_codes()


@pytest.mark.parametrize("act", [AuthenticatorApp.code, AuthenticatorApp.two_codes])
def test_a_phone_without_one_account_says_what_to_do(act: Any) -> None:
    phone = AuthenticatorApp(FrozenClock())
    with pytest.raises(InvalidValue, match=r"^the phone has no account: call scan\(\) with a key"):
        act(phone)
    phone.scan(uri("alice"))
    phone.scan(uri("bob"))
    with pytest.raises(InvalidValue, match=r"^the phone has several accounts: choose one with"):
        act(phone)
