"""The self test computes what the norms print, and a wrong computation shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from vmfa import known_answers
from vmfa.known_answers import selftest

VECTORS = Path(__file__).parents[1] / "vectors"


def failed() -> set[str]:
    return {answer.source for answer in selftest().answers if not answer.passed}


def rows(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())["rows"]


def test_every_answer_is_right_here() -> None:
    report = selftest()
    assert report.passed
    assert len({answer.source for answer in report.answers}) == 10 + 18 + 6 + 3


def test_the_answers_are_those_of_the_norms() -> None:
    assert known_answers._HOTP.split() == [row["code"] for row in rows("rfc4226_appendix_d.json")]
    printed = {(row["at"], row["algorithm"]): row["code"] for row in rows("rfc6238_appendix_b.json")}
    ours = {
        (at, algorithm): code
        for at, codes in known_answers._TOTP.items()
        for algorithm, code in zip(known_answers._SIZES, codes.split(), strict=True)
    }
    assert ours == printed
    assert [
        (secret.hex(), salt.hex(), info.hex(), prk, okm) for secret, salt, info, prk, okm in known_answers._HKDF
    ] == [
        (row["secret"], row["salt"], row["info"], row["prk"], row["okm"]) for row in rows("rfc5869_appendix_a.json")
    ]


def test_truncation_at_byte_19_shows_in_the_longer_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_byte_19(mac: bytes) -> int:
        offset = mac[19] & 0x0F
        return int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF

    monkeypatch.setattr("vmfa.otp.truncate", at_byte_19)
    wrong = failed()
    assert wrong
    assert all("sha256" in source or "sha512" in source for source in wrong)


def test_a_wrong_hkdf_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmfa.known_answers.hkdf_expand", lambda prk, info, length: bytes(length))
    assert failed() == {f"RFC 5869 Appendix A.{number}, expand" for number in (1, 2, 3)}


def test_wrong_blocks_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmfa.keys._OPAD", bytes(256))
    assert {f"RFC 2104, prepared blocks, {algorithm}" for algorithm in ("sha1", "sha256", "sha512")} <= failed()


def test_a_forbidden_hash_is_a_failure_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> NoReturn:
        raise ValueError("sha1 is not available in this mode")

    monkeypatch.setattr("vmfa.known_answers.hmac_digest", forbidden)
    report = selftest()
    assert not report.passed
    assert failed() == {f"RFC 2104, prepared blocks, {algorithm}" for algorithm in ("sha1", "sha256", "sha512")}
