"""Codes: one code, and a wrong code in a window. The floor is one bare ``hmac.digest`` a step."""

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
from measure import FLOOR, Limits, Options, RatioTable, Table, main, ratio_rows, time_statements
from vmfa.otp import scan, window_steps

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # libpass warns of deprecations when it is imported
    from passlib import totp as libpass_totp

RAW = bytes(range(20))
TEXT = b32encode(RAW).decode()
HEX = RAW.hex()
NOW = 1_700_000_010
STEP = NOW // 30
FLOOR_STATEMENT = "hmac_digest(RAW, MESSAGE, 'sha1')"
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
    """Return six digits that match no step of the window."""
    correct = {vmfa.totp(RAW, NOW + 30 * offset) for offset in range(-window, window + 1)}
    return next(code for code in map("{:06}".format, range(100_000, 10**6)) if code not in correct)


def with_vmfa(key: vmfa.Key, code: str, window: int) -> None:
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
    """Check a window in a loop, because the library has none."""
    encoded = code.encode()
    for offset in range(-window, window + 1):
        try:
            key.verify(encoded, NOW + 30 * offset)
        except InvalidToken:
            continue
        raise AssertionError


def with_django_otp(key: bytes, code: str, window: int) -> None:
    totp = django_oath.TOTP(key)
    totp.time = NOW
    assert not totp.verify(int(code), tolerance=window)


def with_oath(key: str, code: str, window: int) -> None:
    accepted, _ = oath.accept_totp(key, code, t=NOW, forward_drift=window, backward_drift=window)
    assert not accepted


def with_otpauth(key: otpauth.TOTP, code: str, window: int) -> None:
    for offset in range(-window, window + 1):
        assert not key.verify(int(code), NOW + 30 * offset)


def with_mintotp(key: str, code: str, window: int) -> None:
    for step in range(STEP - window, STEP + window + 1):
        assert not hmac.compare_digest(mintotp.hotp(key, step), code)


def codes_table(
    question: str,
    cases: dict[str, str],
    limits: Limits,
    *,
    names: dict[str, object],
    rounds: int,
    floors: int = 1,
) -> Table:
    """Measure *cases* against *floors* times the floor. The limits are those of ``vmfa``."""
    series = time_statements({FLOOR: FLOOR_STATEMENT, **cases}, names=names, rounds=rounds)
    return RatioTable(
        title=question,
        section="arithmetic",
        question=question,
        floor="one `hmac.digest`" if floors == 1 else f"{floors} `hmac.digest`",
        rows=ratio_rows(series, floors=floors, limits={"vmfa": limits}),
    )


def one_code(options: Options) -> Iterator[Table]:
    yield codes_table(
        "one code, prepared key",
        {
            "vmfa": "hotp(our_key, STEP)",
            "vmfa.totp": "totp(our_key, NOW)",
            "pyotp": "pyotp_key.at(NOW)",
            "libpass": "libpass_key.generate(NOW).token",
            "libpass, private HOTP": "libpass_key._generate(STEP)",
            "cryptography": "cryptography_key.generate(NOW)",
            "otpauth": "otpauth_key.string_code(otpauth_key.generate(NOW))",
        },
        Limits(1.00, 1.20),
        names=NAMES,
        rounds=options.rounds(121),
    )
    yield codes_table(
        "one code, raw key",
        {
            "vmfa": "hotp(RAW, STEP)",
            "vmfa.totp": "totp(RAW, NOW)",
            "libpass": "libpass_totp.TOTP(key=RAW, format='raw').generate(NOW).token",
            "cryptography": "cryptography_totp.TOTP(RAW, 6, SHA1(), 30).generate(NOW)",
            "django-otp": "django_oath.hotp(RAW, STEP)",  # an int, not a code
            "oath": "oath.totp(HEX, t=NOW)",
            "otpauth": "otpauth.TOTP(RAW).generate(NOW)",
            "pyotp": "pyotp.TOTP(TEXT).at(NOW)",  # takes Base32
            "mintotp": "mintotp.hotp(TEXT, STEP)",  # takes Base32
        },
        Limits(1.40, 1.75),
        names=NAMES,
        rounds=options.rounds(121),
    )


def wrong_code_prepared(options: Options, window: int, limits: Limits) -> Table:
    """Measure a wrong code. The key is prepared if the library can prepare one."""
    cases = {
        "vmfa": (with_vmfa, "our_key"),
        "pyotp": (with_pyotp, "pyotp_key"),
        "libpass": (with_libpass, "libpass_key"),
        "cryptography": (with_cryptography, "cryptography_key"),
        "django-otp": (with_django_otp, "RAW"),
        "oath": (with_oath, "HEX"),
        "otpauth": (with_otpauth, "otpauth_key"),
        "mintotp": (with_mintotp, "TEXT"),
    }
    functions = {function.__name__: function for function, _ in cases.values()}
    return codes_table(
        f"wrong code, window of {window}, prepared key",
        {
            case: f"{function.__name__}({key}, code, window)"
            for case, (function, key) in cases.items()
        },
        limits,
        names=NAMES | functions | {"code": wrong_code(window), "window": window},
        rounds=options.rounds(81),
        floors=2 * window + 1,
    )


def wrong_code_from_base32(options: Options) -> Table:
    checks = (
        with_vmfa, with_pyotp, with_libpass, with_cryptography, with_django_otp, with_oath,
        with_otpauth, with_mintotp,
    )  # fmt: skip
    names = {"code": wrong_code(1), "b32decode": b32decode, "Key": vmfa.Key}
    cryptography = "cryptography_totp.TOTP(b32decode(TEXT), 6, SHA1(), 30)"
    return codes_table(
        "wrong code, window of 1, from Base32",
        {
            "vmfa": "with_vmfa(Key.from_base32(TEXT), code, 1)",
            "pyotp": "with_pyotp(pyotp.TOTP(TEXT), code, 1)",
            "libpass": "with_libpass(libpass_totp.TOTP(key=TEXT), code, 1)",
            "cryptography": f"with_cryptography({cryptography}, code, 1)",
            "django-otp": "with_django_otp(b32decode(TEXT), code, 1)",
            "oath": "with_oath(b32decode(TEXT).hex(), code, 1)",
            "otpauth": "with_otpauth(otpauth.TOTP.from_b32encode(TEXT), code, 1)",
            "mintotp": "with_mintotp(TEXT, code, 1)",
        },
        Limits(1.40, 1.75),
        names=NAMES | names | {check.__name__: check for check in checks},
        rounds=options.rounds(81),
        floors=3,
    )


def pair(options: Options) -> Table:
    """Measure the search for two codes. Each step is computed once, for both codes."""
    steps = window_steps(STEP, 100, 100)
    codes = (vmfa.totp(RAW, NOW + 300), vmfa.totp(RAW, NOW + 330))
    return codes_table(
        f"pair of codes in {len(steps)} steps",
        {"vmfa": "scan(our_key, codes, steps, 6, 'sha1')"},
        Limits(0.75, 0.85),
        names=NAMES | {"scan": scan, "steps": steps, "codes": codes},
        rounds=options.rounds(121),
        floors=len(steps),
    )


def answer(options: Options) -> Iterator[Table]:
    yield from one_code(options)
    yield wrong_code_prepared(options, 1, Limits(1.05, 1.25))
    yield wrong_code_from_base32(options)
    yield wrong_code_prepared(options, 10, Limits(0.85, 1.05))
    yield pair(options)


if __name__ == "__main__":
    main(answer, __file__)
