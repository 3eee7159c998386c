"""Fuzz every parser of text from outside: it accepts the input or raises a named error.

    pip install atheris
    python tests/campaigns/fuzz.py                    # each target for 60 seconds
    python tests/campaigns/fuzz.py --seconds 600 codes rows

atheris is guided by the coverage of the library; each target runs in its own process. A finding
stops its target, prints a traceback and the input, and fails the command.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
Target = Callable[[bytes], None]


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape" if data[:1] == b"\0" else "replace")


def key_uris() -> tuple[Target, list[bytes]]:
    from vmfa import VmfaError, keyuri

    def check(data: bytes) -> None:
        for short in (False, True):
            with contextlib.suppress(VmfaError):
                uri = keyuri.parse(text_of(data), unsafe_short_key=short)
                assert uri.parameters.digits in (6, 7, 8)
                assert uri.parameters.period > 0

    plain = f"otpauth://totp/Example:alice@example.com?secret={SECRET}&issuer=Example"
    return check, [
        plain.encode(),
        f"{plain}&algorithm=SHA512&digits=8&period=60".encode(),
        b"otpauth://hotp/a?counter=1",
    ]


def base32() -> tuple[Target, list[bytes]]:
    from vmfa import Key, UnsafeShortKey, VmfaError, keys

    def check(data: bytes) -> None:
        for kind in (Key, UnsafeShortKey):
            with contextlib.suppress(VmfaError):
                key = kind.from_base32(text_of(data))
                assert kind.from_base32(keys.base32(key)) == key

    return check, [SECRET.encode(), b"gezd gnbv-gy3t qojq gezd gnbv gy3t qojq====", b"MY======"]


def codes() -> tuple[Target, list[bytes]]:
    from vmfa import VmfaError, otp

    key, at = bytes(range(20)), 1_700_000_010
    shown = {
        otp.totp(key, at + 30 * off, digits=digits) for off in (-1, 0, 1) for digits in (6, 7, 8)
    }

    def check(data: bytes) -> None:
        text = text_of(data)
        for digits in (6, 7, 8):
            with contextlib.suppress(VmfaError):
                assert re.fullmatch("[0-9]+", otp.normalize_code(text, (digits,)))
                assert len(otp.normalize_code(text, (digits,))) == digits
            with contextlib.suppress(VmfaError):
                otp.verify_totp(key, text, at, after=-1, digits=digits)
                assert re.sub("[^0-9]", "", text) in shown

    foreign = "\uff11\uff12\uff13\uff14\uff15\uff16 \u0660\u0667\u0660\u0663\u0660\u0669"
    return check, [
        *map(str.encode, shown),
        b"123 456",
        *map(str.encode, foreign.split()),
        b"12-3456\n",
    ]


def payloads() -> tuple[Target, list[bytes]]:
    from vmfa import VmfaError
    from vmfa.importers import (
        authelia,
        devise_two_factor,
        django_otp,
        freeipa,
        google_authenticator,
        keycloak,
        laravel_fortify,
        linotp,
        oath_toolkit,
        otpauth,
        otpauth_migration,
        passlib,
        privacyidea,
        pskc,
        pyotp,
    )

    readers = (
        otpauth.read,
        django_otp.read,
        passlib.read,
        pyotp.read,
        otpauth_migration.read,
        lambda text: google_authenticator.read(text, owner="alice"),
        authelia.read,
        devise_two_factor.read,
        freeipa.read,
        keycloak.read,
        laravel_fortify.read,
        linotp.read,
        oath_toolkit.read,
        privacyidea.read,
        pskc.read,
    )

    def check(data: bytes) -> None:
        text = text_of(data[1:])
        read = readers[data[0] % len(readers) if data else 0]
        with contextlib.suppress(VmfaError):
            for item in read(text):
                repr(item)
        wrapped = "otpauth-migration://offline?data=" + b64encode(data).decode().replace(
            "+", "%2B"
        ).replace("/", "%2F")
        with contextlib.suppress(VmfaError):
            otpauth_migration.read(wrapped)

    message = (
        b"\n\x2d\n\x14"
        + bytes(range(20))
        + b"\x12\x05alice\x1a\x07Example \x01(\x010\x02\x10\x01\x18\x01 \0"
    )
    return check, [
        message,
        b"\0otpauth://totp/alice?secret=" + SECRET.encode(),
        (
            b'\1[{"model": "otp_totp.totpdevice", "pk": 1, "fields": {"user": 1, "name": "a",'
            b' "confirmed": true, "key": "3132333435363738393031323334353637383930", "step": 30,'
            b' "t0": 0, "digits": 6, "tolerance": 1, "drift": 0, "last_t": -1,'
            b' "throttling_failure_timestamp": null, "throttling_failure_count": 0}}]'
        ),
        b'\2[{"owner": "a", "totp": {"v": 1, "type": "totp", "key": "' + SECRET.encode() + b'"}}]',
        b'\3[{"owner": "a", "secret": "' + SECRET.encode() + b'"}]',
        b"\5"
        + SECRET.encode()
        + b'\n" RATE_LIMIT 3 30\n" WINDOW_SIZE 3\n" DISALLOW_REUSE 5\n" TOTP_AUTH\n12345678\n',
    ]


def arguments() -> tuple[Target, list[bytes]]:
    from vmfa.cli.errors import EXIT_CODES, Bug
    from vmfa.cli.main import main

    bug = dict(EXIT_CODES)[Bug]

    os.chdir(tempfile.mkdtemp(prefix="vmfa-fuzz-"))
    Path("key").write_bytes(bytes(range(32)))
    Path("key").chmod(0o600)
    streams = sys.stdout, sys.stderr, sys.stdin

    def check(data: bytes) -> None:
        words = [
            word.replace("/", "_").replace("..", "__").replace("\0", "")  # argv has no NUL
            for word in text_of(data[:400]).split("\n")[:24]
        ]
        sys.stdout, sys.stderr, sys.stdin = io.StringIO(), io.StringIO(), io.StringIO(words[-1])
        try:
            code = main(words, clock=lambda: 1_700_000_010)
        finally:
            out = sys.stderr.getvalue()
            sys.stdout, sys.stderr, sys.stdin = streams
        assert code != bug, out

    files = "--db\nmfa.db\n--key-file\nkey\n"
    commands = (
        "enroll\n123456789012\nalice\n--label\na",
        "verify\n123456789012\nalice\n--code\n123456",
        "status\n1\na",
        "confirm\n1\nalice\n--session\nx\n--code1\n123456\n--code2\n654321",
        "resync\n1\na",
        "demo",
        "deactivate\n1\nalice\n--as\nservice:x",
        "import\notpauth\n-",
        "selftest",
        "policy",
        "history\n1\na",
        "audit\nverify",
        "audit\ncheckpoint",
        "--help",
    )
    return check, [
        (files + command + extra).encode() for command in commands for extra in ("", "\n--json")
    ]


def rows() -> tuple[Target, list[bytes]]:
    sys.path.insert(0, str(ROOT / "tests"))
    from support import MASTER, enroll
    from vmfa import (
        AuditEvent,
        DerivedKeys,
        DeviceRegistry,
        Kind,
        PrincipalId,
        SQLiteStore,
        VmfaError,
    )
    from vmfa.record import columns, from_columns
    from vmfa.testing import FrozenClock

    alice, clock, keys = (
        PrincipalId.user("123456789012", "u-4711"),
        FrozenClock(),
        DerivedKeys(MASTER),
    )
    with SQLiteStore(Path(tempfile.mkdtemp(prefix="vmfa-fuzz-")) / "mfa.db") as store:
        registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=clock)
        phone = enroll(registry, clock, alice).phone
        row = columns(store.load(alice))
        event = store.history(alice)[0]
    clock.advance(30)
    code, operations = phone.code(), registry.operations

    def check(data: bytes) -> None:
        text = text_of(data[1:])
        place = data[0] % 6 if data else 4  # the audit tag is not checked here
        edited = list(row)
        edited[place] = text if place != 3 else len(data)
        account, kind, name, *columns_read = edited
        with contextlib.suppress(VmfaError, ValueError):  # an unknown kind
            record = from_columns(
                PrincipalId(account=account, kind=Kind(kind), name=name), *columns_read
            )
            answer = operations.verify(record.id, code).decide(record, clock()).answer
            assert isinstance(answer, VmfaError) or tuple(edited) == row, "an edited row verified"
        with contextlib.suppress(VmfaError):
            number, _, *rest = event.columns()
            AuditEvent.from_columns(alice, number, text, *rest)

    documents = [b"\4" + document.encode() for document in (row[4], event.document())]
    return check, [*documents, b"\5" + row[5].encode(), b"\1user", b"\2u-4711"]


TARGETS: dict[str, Callable[[], tuple[Target, list[bytes]]]] = {
    "key_uris": key_uris,
    "base32": base32,
    "codes": codes,
    "payloads": payloads,
    "arguments": arguments,
    "rows": rows,
}


def fuzz(name: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["vmfa"]):
        check, seeds = TARGETS[name]()
    corpus = Path(tempfile.mkdtemp(prefix="vmfa-corpus-"))
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    options = [
        f"-max_total_time={seconds}",
        "-max_len=4096",
        "-rss_limit_mb=2048",
        "-timeout=20",
        "-print_final_stats=1",
        f"-artifact_prefix={corpus}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], check)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        fuzz(options.targets[0], options.seconds)
    bad = 0
    for name in options.targets or TARGETS:
        command = [sys.executable, __file__, name, "--here", "--seconds", str(options.seconds)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        output = (done.stdout + done.stderr).decode("utf-8", "replace")
        runs = re.search(r"number_of_executed_units: (\d+)", output)
        good = done.returncode == 0 and runs is not None
        bad += not good
        print(
            f"{name}: {int(runs[1]) if runs else 0:,} inputs,"
            f" {'nothing found' if good else 'FOUND'}",
            flush=True,
        )
        if not good:
            print(output[-6000:])
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
