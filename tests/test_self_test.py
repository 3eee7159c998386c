"""The self test: it computes the published values, and a wrong computation fails."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import ssl
import subprocess
import sys
from ast import literal_eval
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from vmfa import self_test
from vmfa.keys import HASHES
from vmfa.self_test import KnownAnswer, selftest

VECTORS = Path(__file__).with_name("vectors")
REFUSED = "refused: PackageNotFoundError"
PYTHON = f"{platform.python_implementation()} {platform.python_version()}"
SYSTEM = f"{platform.system()} {platform.machine()}"


def failed() -> set[str]:
    return {answer.source for answer in selftest().answers if not answer.passed}


def rows(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())["rows"]


def test_every_value_is_computed() -> None:
    report = selftest()
    assert report.passed
    assert {answer.source for answer in report.answers} == {
        *(f"FIPS 180-4, {algorithm}" for algorithm in HASHES),
        *(f"RFC 4226 Appendix D, counter {counter}" for counter in range(10)),
        *(
            f"RFC 6238 Appendix B, {algorithm}, time {at}"
            for algorithm in HASHES
            for at in self_test._TOTP
        ),
        *(
            f"RFC 5869 Appendix A.{number}, {half}"
            for number in (1, 2, 3)
            for half in ("extract", "expand")
        ),
        "GCM specification, test case 14, AES-256",
        "RFC 8032 section 7.1, test 1, Ed25519",
        *(f"RFC 2104, prepared keys, {algorithm}" for algorithm in HASHES),
    }
    assert len(report.answers) == 3 + 10 + 18 + 6 + 1 + 1 + 3
    assert {answer.problem for answer in report.answers} == {""}
    assert report.refused == ()


def test_the_report_contains_the_versions() -> None:
    report = selftest()
    assert report.versions == f"vmfa {version('vmfa')}, {PYTHON}, {ssl.OPENSSL_VERSION}, {SYSTEM}"
    names = [name for name, _ in report.computed_by]
    assert names == [
        "sha1", "sha256", "sha512", "hmac with sha256", "HKDF with sha256", "comparison",
        "random bytes", "AES-256-GCM", "Ed25519",
    ]  # fmt: skip
    assert dict(report.computed_by)["AES-256-GCM"].startswith(
        f"cryptography {version('cryptography')}, OpenSSL "
    )


def test_without_the_extra_sealing_there_is_no_aes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmfa.self_test.find_spec", lambda name: None)
    report = selftest()
    assert report.passed
    assert "AES-256-GCM" not in dict(report.computed_by)
    assert not any("GCM" in answer.source for answer in report.answers)


def test_the_report_needs_neither_ssl_nor_an_installed_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ssl", None)
    monkeypatch.setattr("importlib.metadata.distribution", missing)
    assert selftest().versions == f"vmfa not installed, {PYTHON}, no OpenSSL, {SYSTEM}"


def missing(*_: object) -> NoReturn:
    raise PackageNotFoundError


def test_the_values_are_those_of_the_standards() -> None:
    assert self_test._HOTP.split() == [row["code"] for row in rows("rfc4226_appendix_d.json")]
    printed = {
        (row["at"], row["algorithm"]): row["code"] for row in rows("rfc6238_appendix_b.json")
    }
    ours = {
        (at, algorithm): code
        for at, codes in self_test._TOTP.items()
        for algorithm, code in zip(self_test._SIZES, codes.split(), strict=True)
    }
    assert ours == printed
    assert [
        (secret.hex(), salt.hex(), info.hex(), prk, okm)
        for secret, salt, info, prk, okm in self_test._HKDF
    ] == [
        (row["secret"], row["salt"], row["info"], row["prk"], row["okm"])
        for row in rows("rfc5869_appendix_a.json")
    ]


def test_a_truncation_at_byte_19_fails_for_the_longer_hashes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def at_byte_19(mac: bytes) -> int:
        offset = mac[19] & 0x0F
        return int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF

    monkeypatch.setattr("vmfa.otp.truncate", at_byte_19)
    wrong = failed()
    assert wrong
    assert all("sha256" in source or "sha512" in source for source in wrong)


def test_a_wrong_hkdf_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmfa.self_test.hkdf_expand", lambda prk, info, length: bytes(length))
    assert failed() == {f"RFC 5869 Appendix A.{number}, expand" for number in (1, 2, 3)}


def test_a_wrong_cipher_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptography.hazmat.primitives.ciphers.aead.AESGCM", AESCCM)
    assert failed() == {"GCM specification, test case 14, AES-256"}


def test_wrong_prepared_keys_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(key: bytes, algorithm: str) -> Any:
        return prepared_hmac(key, algorithm)[::-1]

    prepared_hmac = self_test.prepared_hmac
    monkeypatch.setattr(self_test, "prepared_hmac", swapped)
    assert failed() == {f"RFC 2104, prepared keys, {algorithm}" for algorithm in HASHES}


@pytest.mark.parametrize("size", [16, 20, 32, 63, 64, 65, 127, 128, 129])
def test_a_prepared_key_that_is_wrong_for_one_size_fails(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    def wrong_once(raw: bytes, algorithm: str) -> Any:
        return prepared_hmac(raw if len(raw) != size else bytes(size), algorithm)

    prepared_hmac = self_test.prepared_hmac
    monkeypatch.setattr(self_test, "prepared_hmac", wrong_once)
    assert failed() == {f"RFC 2104, prepared keys, {algorithm}" for algorithm in HASHES}


def test_the_report_names_the_module_that_computes_a_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = pytest.importorskip("_hashlib")
    monkeypatch.setitem(HASHES, "sha1", (hashlib.blake2b, 128))
    monkeypatch.setitem(HASHES, "sha256", (openssl.openssl_sha256, 64))
    report = selftest()
    assert dict(report.computed_by)["sha1"] == "Python (_blake2)"
    assert dict(report.computed_by)["sha256"] == "OpenSSL"


def test_a_cipher_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptography.hazmat.primitives.ciphers.aead.AESGCM", missing)
    assert selftest().refused == ("AES-256-GCM",)


def test_a_wrong_value_is_not_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmfa.self_test.hkdf_extract", lambda salt, secret: bytes(32))
    report = selftest()
    assert {answer.problem for answer in report.answers if not answer.passed} == {"wrong value"}
    assert report.sentence == "this build computes a wrong value"
    assert "RFC 5869 Appendix A.1, extract" in failed()


def test_a_passed_report_has_no_sentence_and_no_problem() -> None:
    report = selftest()
    assert report.sentence == ""
    assert report.answers[0] == KnownAnswer("FIPS 180-4, sha1", passed=True, problem="")


def test_a_forbidden_hash_is_a_failure_and_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> NoReturn:
        raise ValueError("sha1 is not available in this mode")

    monkeypatch.setattr("vmfa.self_test.hmac_digest", forbidden)
    report = selftest()
    assert not report.passed
    assert failed() == {
        f"RFC 2104, prepared keys, {algorithm}" for algorithm in ("sha1", "sha256", "sha512")
    }


def test_a_hash_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HASHES, "sha1", (missing, 64, 20))
    report = selftest()
    assert report.refused == ("sha1",)
    assert report.sentence == "this build refuses sha1"
    assert dict(report.computed_by)["sha1"] == REFUSED
    assert KnownAnswer("FIPS 180-4, sha1", passed=False, problem=REFUSED) in report.answers
    monkeypatch.setitem(HASHES, "sha512", (missing, 128))
    assert selftest().sentence == "this build refuses sha1, sha512"


# Builds that refuse an algorithm, each in a process of its own


class Build:
    """A Python interpreter whose hashes are restricted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join([str(folder), *sys.path])
        self.environment = {**os.environ, "PYTHONPATH": path}

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Return the exit code, the output and the errors of a program."""
        ran = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr


WITHOUT_SHA1 = """
import hashlib, hmac
new, digest = hashlib.new, hmac.digest
def refuse(*_, **__): raise ValueError('[digital envelope routines] unsupported')
hashlib.sha1 = refuse
hashlib.new = lambda name, *a, **k: refuse() if name == 'sha1' else new(name, *a, **k)
hmac.digest = lambda key, msg, name: refuse() if name == 'sha1' else digest(key, msg, name)
"""
FIPS_ONLY = """
openssl_conf = start
[start]
alg_section = properties
providers = providers
[properties]
default_properties = fips=yes
[providers]
default = here
[here]
activate = 1
"""


@pytest.fixture
def without_sha1(tmp_path: Path) -> Build:
    """A build in which a policy blocks SHA-1: a call raises ValueError."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_SHA1)
    return Build(tmp_path)


@pytest.fixture
def openssl_in_fips_mode(tmp_path: Path) -> Build:
    """The real OpenSSL, limited to validated algorithms, without a module that has any."""
    (tmp_path / "openssl.cnf").write_text(FIPS_ONLY)
    build = Build(tmp_path)
    build.environment["OPENSSL_CONF"] = str(tmp_path / "openssl.cnf")
    if build.run("-c", "import hashlib; hashlib.sha1()")[0] == 0:
        pytest.skip("this Python does not ask OpenSSL 3 for its hashes")
    return build


REPORT = """
import json, vmfa
report = vmfa.selftest()
wrong = [[answer.source, answer.problem] for answer in report.answers if not answer.passed]
modules = dict(report.computed_by)
print(json.dumps([report.passed, report.refused, modules, wrong, report.sentence]))
"""


def test_a_build_without_sha1_names_it_and_computes_the_rest(without_sha1: Build) -> None:
    code, out, err = without_sha1.run("-c", REPORT)
    assert (code, err) == (0, "")
    passed, refused, computed_by, wrong, sentence = json.loads(out)
    assert (passed, refused, sentence) == (False, ["sha1"], "this build refuses sha1")
    assert computed_by["sha1"] == "refused: ValueError"
    assert {problem for _, problem in wrong} == {"refused: ValueError", "refused: InvalidValue"}
    sources = {source for source, _ in wrong}
    assert {
        "FIPS 180-4, sha1",
        "RFC 4226 Appendix D, counter 0",
        "RFC 2104, prepared keys, sha1",
    } <= sources
    assert len(sources) == 1 + 10 + 6 + 1  # and neither SHA-256, SHA-512 nor HKDF


def test_an_openssl_that_refuses_every_hash_is_named(openssl_in_fips_mode: Build) -> None:
    code, out, err = openssl_in_fips_mode.run("-c", REPORT)
    assert (code, err) == (0, "")
    passed, refused, computed_by, *_ = json.loads(out)
    assert (passed, refused[:3]) == (False, ["sha1", "sha256", "sha512"])
    assert computed_by["sha1"] == "refused: UnsupportedDigestmodError"
    assert computed_by["hmac with sha256"] != "OpenSSL"  # a module of Python computes it


CODES = """
import traceback, vmfa
raw, clock, messages = b"twenty bytes of key!", lambda: 1_700_000_000, []
key, alice = vmfa.Key(raw), vmfa.PrincipalId.user("a", "b")
registry = vmfa.DeviceRegistry(
    vmfa.MemoryStore(), keys=vmfa.DerivedKeys(bytes(32)), imported_keys=vmfa.UnsafePlainKeys(),
    issuer="E", clock=clock,
)
registry.adopt(alice, by=vmfa.Actor.trusted_service("s"), key=key, system="old")
for call in (
    lambda: vmfa.totp(raw, 0), lambda: vmfa.totp(key, 0),
    lambda: vmfa.verify_totp(key, "123456", 0, after=-1),
    lambda: vmfa.keys.mac(key, "sha1", b""), lambda: vmfa.keys.mac(key, "md5", b""),
    lambda: registry.verify(alice, "123456"),
):
    try:
        call()
    except vmfa.InvalidValue as error:
        frames = [frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__)][2:]
        assert error.__context__ is None
        assert raw not in [value for frame in frames for value in frame.values()]
        messages.append(str(error))
print(messages)
"""


def test_a_code_of_a_refused_hash_raises_invalid_value_and_shows_no_key(
    without_sha1: Build,
) -> None:
    code, out, err = without_sha1.run("-c", CODES)
    assert (code, err) == (0, "")
    messages = literal_eval(out)
    assert len(messages) == 6
    assert ["sha1" in message for message in messages] == [True, True, True, True, False, True]
    assert "md5" in messages[4]


@pytest.mark.parametrize("build", ["without_sha1", "openssl_in_fips_mode"])
def test_the_command_line_works_in_a_restricted_build(
    build: str, request: pytest.FixtureRequest
) -> None:
    restricted: Build = request.getfixturevalue(build)
    code, out, err = restricted.run("-m", "vmfa", "selftest")
    assert code == 5
    assert "WRONG  FIPS 180-4, sha1: refused: " in out
    assert err.startswith("vmfa: this build refuses sha1")
    program = "import vmfa; vmfa.Policy(), vmfa.DeviceRegistry"
    for arguments in (["-c", program], ["-m", "vmfa", "policy"]):
        code, _, err = restricted.run(*arguments)
        assert (code, err) == (0, "")
