"""The hand clock and the authenticator app that users' tests are given."""

from __future__ import annotations

import pickle
import subprocess
import sys

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
    return build(issuer=issuer, label=label, key=KEY, parameters=Parameters(**parameters))  # type: ignore[arg-type]


def test_the_clock_moves_only_when_told_to() -> None:
    assert FrozenClock()() == 1_700_000_010  # the first second of a step
    clock = FrozenClock(100)
    clock.advance(0.5)
    assert clock() == clock() == 100.5
    clock.set(7)
    assert clock() == 7


def test_without_a_phone_and_without_waiting_through_the_wizard() -> None:
    clock = FrozenClock()
    registry = DeviceRegistry(MemoryStore(), keys=DerivedKeys(bytes(32)), issuer="Example", clock=clock)
    alice = PrincipalId.user("123456789012", "u-4711")
    me = Actor.signed_in(alice)
    opened = registry.open_enrollment(alice, by=me, label="alice")
    phone = AuthenticatorApp(clock).scan(opened.uri)
    code1, code2 = phone.two_codes()
    report = registry.confirm_enrollment(alice, session=opened.session_id, code1=code1, code2=code2, by=me)
    assert report.steps_off == 0
    clock.advance(phone.seconds_left)
    assert registry.verify(alice, phone.code()).drift == 0


@pytest.mark.parametrize("at", [119, 1111111109, 1111111111, 1234567890, 2000000000, 20000000000])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512"])
@pytest.mark.parametrize(("digits", "period"), [(6, 30), (8, 30), (7, 1), (8, 60)])
def test_its_own_arithmetic_is_the_librarys(at: int, algorithm: str, digits: int, period: int) -> None:
    account = AuthenticatorApp(lambda: at).scan(uri(algorithm=algorithm, digits=digits, period=period))
    for off in (-1, 0, 1):
        wanted = totp(KEY, at + off * period, digits=digits, algorithm=algorithm, period=period)
        assert account.code(off) == wanted
    assert account.two_codes() == (account.code(-1), account.code())


def test_it_agrees_with_rfc_6238() -> None:
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


def test_its_clock_may_be_wrong_and_go_wrong() -> None:
    clock = FrozenClock(1_700_000_010)
    fast = AuthenticatorApp(clock, skew=90)
    slow = AuthenticatorApp(clock, skew=-30, drift=-60)
    assert (fast.now - clock(), slow.now - clock()) == (90, -30)
    assert fast.scan(uri()).step - slow.scan(uri()).step == 4
    clock.advance(86400)
    assert (fast.now - clock(), slow.now - clock()) == (90, -90)


def test_it_holds_many_accounts_and_tells_them_apart() -> None:
    app = AuthenticatorApp(FrozenClock())
    seen = [("alice", "Example"), ("bob", "Example"), ("alice", "Other"), ("alice", "Example"), ("alice", "Example")]
    for label, issuer in seen:
        account = app.scan(uri(label, issuer))
        assert app[account.label] is account
    assert app.labels == ["Example:alice", "Example:bob", "Other:alice", "Example:alice (2)", "Example:alice (3)"]
    assert app.scan(f"otpauth://totp/alice?secret={'A' * 32}").label == "alice"
    app.remove("Example:bob")
    assert "Example:bob" not in app.labels


def test_it_scans_codes_of_time_and_nothing_else() -> None:
    app = AuthenticatorApp(FrozenClock())
    for text in ("otpauth://totp/x", "https://example.com", ""):
        with pytest.raises(InvalidValue):
            app.scan(text)
    with pytest.raises(InvalidValue, match=r"^this app shows codes of time only$"):
        app.scan(f"otpauth://hotp/x?secret={'A' * 32}&counter=0")
    assert app.labels == []


def test_an_account_shows_codes_and_hides_the_key() -> None:
    account = AuthenticatorApp(FrozenClock()).scan(uri())
    assert repr(account) == "<Account>"
    with pytest.raises(InvalidType):
        pickle.dumps(account)
    with pytest.raises(TypeError):
        vars(account)


def test_it_needs_nothing_but_the_standard_library() -> None:
    """For tests that run without pytest too."""
    program = "import sys; sys.modules['pytest'] = None; import vmfa.testing"
    subprocess.run([sys.executable, "-I", "-c", program], check=True)
