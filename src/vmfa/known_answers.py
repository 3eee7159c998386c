"""Known answers: does this installation compute what the norms print? ``vmfa.selftest()`` tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hmac import digest as hmac_digest
from typing import Final

from .keys import HASHES, keyed
from .keysource import hkdf_expand, hkdf_extract
from .otp import hotp, totp

_SEED: Final = b"1234567890" * 7  # both RFCs; RFC 6238 cuts it to the size of the hash
_HOTP: Final = "755224 287082 359152 969429 338314 254676 287922 162583 399871 520489"
_TOTP: Final = {
    59: "94287082 46119246 90693936",
    1111111109: "07081804 68084774 25091201",
    1111111111: "14050471 67062674 99943326",
    1234567890: "89005924 91819424 93441116",
    2000000000: "69279037 90698825 38618901",
    20000000000: "65353130 77737706 47863826",
}
_SIZES: Final = {"sha1": 20, "sha256": 32, "sha512": 64}
_HKDF: Final = (  # secret, salt, info, pseudorandom key, output
    (
        bytes([11] * 22), bytes(range(13)), bytes(range(0xF0, 0xFA)),
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)), bytes(range(0x60, 0xB0)), bytes(range(0xB0, 0x100)),
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        ("b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
         "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"),
    ),
    (
        bytes([11] * 22), b"", b"",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
)


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """One answer that is known beforehand: where it is printed, and whether it was computed here too."""

    source: str
    passed: bool


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What :func:`selftest` found."""

    answers: tuple[KnownAnswer, ...]

    @property
    def passed(self) -> bool:
        return all(answer.passed for answer in self.answers)


def selftest() -> SelfTest:
    """Compute the answers that RFC 4226, RFC 6238 and RFC 5869 print, and HMAC in both ways this library uses.

    Takes a millisecond, needs nothing, changes nothing. A computation that raises has failed.
    """
    return SelfTest(tuple(KnownAnswer(source, _gives(answer, compute)) for source, answer, compute in _known()))


def _gives(answer: object, compute: Callable[[], object]) -> bool:
    try:
        return compute() == answer
    except Exception:  # noqa: BLE001  # whatever is broken or forbidden here, the answer was not computed
        return False


def _known() -> Iterator[tuple[str, object, Callable[[], object]]]:
    for counter, code in enumerate(_HOTP.split()):
        yield f"RFC 4226 Appendix D, counter {counter}", code, partial(hotp, _SEED[:20], counter)
    for at, codes in _TOTP.items():
        for (algorithm, size), code in zip(_SIZES.items(), codes.split(), strict=True):
            compute = partial(totp, _SEED[:size], at, digits=8, algorithm=algorithm)
            yield f"RFC 6238 Appendix B, {algorithm}, time {at}", code, compute
    for number, (secret, salt, info, prk, okm) in enumerate(_HKDF, 1):
        between, output = bytes.fromhex(prk), bytes.fromhex(okm)
        yield f"RFC 5869 Appendix A.{number}, extract", between, partial(hkdf_extract, salt, secret)
        yield f"RFC 5869 Appendix A.{number}, expand", output, partial(hkdf_expand, between, info, len(output))
    for algorithm in HASHES:
        yield f"RFC 2104, prepared keys, {algorithm}", True, partial(_prepared_is_hmac, algorithm)


def _prepared_is_hmac(algorithm: str) -> bool:
    """Whether what ``otp`` computes from a prepared key is the HMAC, for keys around the size of a block."""
    message = bytes(range(8))
    for size in (16, 20, 32, 63, 64, 65, 127, 128, 129):
        raw = bytes(range(size))
        inner, outer = keyed(raw, algorithm)
        inner.update(message)
        outer.update(inner.digest())
        if outer.digest() != hmac_digest(raw, message, algorithm):
            return False
    return True
