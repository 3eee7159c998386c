"""Arithmetic: what a code costs, over one bare ``hmac.digest`` a step."""

from __future__ import annotations

import hmac
import warnings
from base64 import b32decode, b32encode
from collections.abc import Iterator

import mintotp
import oath
import otpauth
import pyotp
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor import InvalidToken, totp as cryptography_totp
from django_otp import oath as django_oath
from passlib.exc import TokenError

import vmfa
from measure import Run, Table, main, ratios
from vmfa.otp import scan, window_steps

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # libpass tells at import what it may one day drop
    from passlib import totp as libpass_totp

RAW = bytes(range(20))
TEXT = b32encode(RAW).decode()
HEX = RAW.hex()
NOW = 1_700_000_010
STEP = NOW // 30
FLOOR = "hmac_digest(RAW, MESSAGE, 'sha1')"
NAMES = {
    "hmac_digest": hmac.digest,
    "MESSAGE": STEP.to_bytes(8, "big"),
    "RAW": RAW,
    "TEXT": TEXT,
    "HEX": HEX,
    "NOW": NOW,
    "STEP": STEP,
    "SHA1": SHA1,
    "vmfa": vmfa,
    "hotp": vmfa.hotp,
    "totp": vmfa.totp,
    "pyotp": pyotp,
    "libpass_totp": libpass_totp,
    "cryptography_totp": cryptography_totp,
    "django_oath": django_oath,
    "oath": oath,
    "otpauth": otpauth,
    "mintotp": mintotp,
    "our_key": vmfa.Key(RAW),
    "pyotp_key": pyotp.TOTP(TEXT),
    "libpass_key": libpass_totp.TOTP(key=RAW, format="raw"),
    "cryptography_key": cryptography_totp.TOTP(RAW, 6, SHA1(), 30),
    "otpauth_key": otpauth.TOTP(RAW),
}


def wrong_code(window: int) -> str:
    """Text of six digits that matches no step within *window*."""
    right = {vmfa.totp(RAW, NOW + 30 * offset) for offset in range(-window, window + 1)}
    return next(code for code in map("{:06}".format, range(100_000, 10**6)) if code not in right)


def ours(key: object, code: str, window: int) -> None:
    try:
        vmfa.verify_totp(key, code, NOW, after=-1, window=window)
    except vmfa.CodeRejected:
        return
    raise AssertionError


def with_pyotp(key: pyotp.TOTP, code: str, window: int) -> None:
    assert not key.verify(code, for_time=NOW, valid_window=window)


def with_libpass(key: libpass_totp.TOTP, code: str, window: int) -> None:
    try:
        key.match(code, time=NOW, window=30 * window)
    except TokenError:
        return
    raise AssertionError


def with_cryptography(key: cryptography_totp.TOTP, code: str, window: int) -> None:
    """It has no window: its user writes this loop."""
    typed = code.encode()
    for offset in range(-window, window + 1):
        try:
            key.verify(typed, NOW + 30 * offset)
        except InvalidToken:
            continue
        raise AssertionError


def with_django_otp(key: bytes, code: str, window: int) -> None:
    found = django_oath.TOTP(key)
    found.time = NOW
    assert not found.verify(int(code), tolerance=window)


def with_oath(key: str, code: str, window: int) -> None:
    accepted, _ = oath.accept_totp(key, code, t=NOW, forward_drift=window, backward_drift=window)
    assert not accepted


def with_otpauth(key: otpauth.TOTP, code: str, window: int) -> None:
    for offset in range(-window, window + 1):
        assert not key.verify(int(code), NOW + 30 * offset)


def with_mintotp(key: str, code: str, window: int) -> None:
    for step in range(STEP - window, STEP + window + 1):
        assert not hmac.compare_digest(mintotp.hotp(key, step), code)


def one_code(run: Run) -> Iterator[Table]:
    rounds = run.rounds(121)
    yield ratios(
        "One code, prepared key",
        FLOOR,
        {
            "vmfa.hotp": "hotp(our_key, STEP)",
            "vmfa.totp": "totp(our_key, NOW)",
            "pyotp": "pyotp_key.at(NOW)",
            "libpass (hotp)": "libpass_key._generate(STEP)",
            "libpass (totp)": "libpass_key.generate(NOW).token",
            "cryptography": "cryptography_key.generate(NOW)",
            "otpauth": "otpauth_key.string_code(otpauth_key.generate(NOW))",
        },
        names=NAMES,
        rounds=rounds,
        goals={"vmfa.hotp": (1.00, 1.20)},
    )
    yield ratios(
        "One code, raw key bytes",
        FLOOR,
        {
            "vmfa.hotp": "hotp(RAW, STEP)",
            "vmfa.totp": "totp(RAW, NOW)",
            "libpass": "libpass_totp.TOTP(key=RAW, format='raw').generate(NOW).token",
            "cryptography": "cryptography_totp.TOTP(RAW, 6, SHA1(), 30).generate(NOW)",
            "django-otp (a number)": "django_oath.hotp(RAW, STEP)",
            "oath (hex key)": "oath.totp(HEX, t=NOW)",
            "otpauth": "otpauth.TOTP(RAW).generate(NOW)",
            "pyotp (Base32 key)": "pyotp.TOTP(TEXT).at(NOW)",
            "mintotp (Base32 key)": "mintotp.hotp(TEXT, STEP)",
        },
        names=NAMES,
        rounds=rounds,
        goals={"vmfa.hotp": (1.40, 1.75)},
    )


def refusal(run: Run, window: int, goal: tuple[float, float]) -> Table:
    names = NAMES | {"code": wrong_code(window), "window": window}
    cases = {
        "vmfa": (ours, "our_key"),
        "pyotp": (with_pyotp, "pyotp_key"),
        "libpass": (with_libpass, "libpass_key"),
        "cryptography": (with_cryptography, "cryptography_key"),
        "django-otp": (with_django_otp, "RAW"),
        "oath": (with_oath, "HEX"),
        "otpauth": (with_otpauth, "otpauth_key"),
        "mintotp": (with_mintotp, "TEXT"),
    }
    names |= {function.__name__: function for function, _ in cases.values()}
    return ratios(
        f"A wrong code, window +-{window}, prepared key where the library has one",
        FLOOR,
        {name: f"{function.__name__}({key}, code, window)" for name, (function, key) in cases.items()},
        names=names,
        rounds=run.rounds(81),
        floors=2 * window + 1,
        goals={"vmfa": goal},
    )


def refusal_from_text(run: Run) -> Table:
    names = NAMES | {"code": wrong_code(1), "b32decode": b32decode, "Key": vmfa.Key}
    checks = (ours, with_pyotp, with_libpass, with_cryptography, with_django_otp, with_oath, with_otpauth)
    names |= {function.__name__: function for function in (*checks, with_mintotp)}
    return ratios(
        "A wrong code, window +-1, from Base32 text to verdict",
        FLOOR,
        {
            "vmfa": "ours(Key.from_base32(TEXT), code, 1)",
            "pyotp": "with_pyotp(pyotp.TOTP(TEXT), code, 1)",
            "libpass": "with_libpass(libpass_totp.TOTP(key=TEXT), code, 1)",
            "cryptography": "with_cryptography(cryptography_totp.TOTP(b32decode(TEXT), 6, SHA1(), 30), code, 1)",
            "django-otp": "with_django_otp(b32decode(TEXT), code, 1)",
            "oath": "with_oath(b32decode(TEXT).hex(), code, 1)",
            "otpauth": "with_otpauth(otpauth.TOTP.from_b32encode(TEXT), code, 1)",
            "mintotp": "with_mintotp(TEXT, code, 1)",
        },
        names=names,
        rounds=run.rounds(81),
        floors=3,
        goals={"vmfa": (1.40, 1.75)},
    )


def pair(run: Run) -> Table:
    steps = window_steps(STEP, 100, 100)
    pair_of_codes = (vmfa.totp(RAW, NOW + 300), vmfa.totp(RAW, NOW + 330))
    return ratios(
        "A pair of codes in 201 steps, each step computed once",
        FLOOR,
        {"vmfa": "scan(our_key, codes, steps, 6, 'sha1')"},
        names=NAMES | {"scan": scan, "steps": steps, "codes": pair_of_codes},
        rounds=run.rounds(121),
        floors=len(steps),
        goals={"vmfa": (0.75, 0.85)},
    )


def answer(run: Run) -> Iterator[Table]:
    yield from one_code(run)
    yield refusal(run, 1, (1.05, 1.25))
    yield refusal_from_text(run)
    yield refusal(run, 10, (0.85, 1.05))
    yield pair(run)


if __name__ == "__main__":
    main(answer, __file__)
