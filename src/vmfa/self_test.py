"""Check that this installation computes the published test values, and with which software.

A restricted build may refuse an algorithm, or refuse it in OpenSSL while Python's own modules
still compute it. The report says which module computes each hash, and which error refused a
value.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hmac import compare_digest, digest as hmac_digest
from importlib.util import find_spec
from typing import Any, Final

from .installation import openssl_version, vmfa_version
from .keys import HASHES, hkdf_expand, hkdf_extract, prepared_hmac
from .otp import hotp, totp

__all__ = ["KnownAnswer", "SelfTest", "selftest"]

_SEED: Final = b"1234567890" * 7  # RFC 6238 uses as many bytes of it as the hash has
_HOTP: Final = "755224 287082 359152 969429 338314 254676 287922 162583 399871 520489"
_TOTP: Final = {
    59: "94287082 46119246 90693936",
    1111111109: "07081804 68084774 25091201",
    1111111111: "14050471 67062674 99943326",
    1234567890: "89005924 91819424 93441116",
    2000000000: "69279037 90698825 38618901",
    20000000000: "65353130 77737706 47863826",
}
_ABC: Final = {  # FIPS 180-4: the digests of "abc"
    "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "sha512": ("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
               "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"),
}
# GCM specification, test case 14: key, nonce and plaintext are zeros
_GCM: Final = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
# RFC 8032 section 7.1, test 1: the private key, and the signature of the empty message
_ED25519_KEY: Final = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
_ED25519: Final = (
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
    "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
_SIZES: Final = {"sha1": 20, "sha256": 32, "sha512": 64}
_HKDF: Final = (  # RFC 5869 Appendix A: secret, salt, info, pseudorandom key, output
    (
        bytes([11] * 22),
        bytes(range(13)),
        bytes(range(0xF0, 0xFA)),
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x50)),
        bytes(range(0x60, 0xB0)),
        bytes(range(0xB0, 0x100)),
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        (
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
            "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
            "cc30c58179ec3e87c14c01d5c1f3434f1d87"
        ),
    ),
    (
        bytes([11] * 22),
        b"",
        b"",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
)


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """One published test value.

    :param source: where it is published.
    :param passed: whether this installation computes it.
    :param problem: "wrong value", or which error refused the computation; empty if it passed.
    """

    source: str
    passed: bool
    problem: str


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The report of :func:`selftest`.

    :param answers: the result for each published value.
    :param versions: the versions of vmfa, Python, OpenSSL and the system.
    :param computed_by: for each primitive "OpenSSL", a module of Python, or "refused" and the
        error.
    """

    answers: tuple[KnownAnswer, ...]
    versions: str
    computed_by: tuple[tuple[str, str], ...]

    @property
    def passed(self) -> bool:
        """Whether every value was computed correctly."""
        return all(answer.passed for answer in self.answers)

    @property
    def refused(self) -> tuple[str, ...]:
        """The primitives that this build refuses to compute."""
        return tuple(name for name, module in self.computed_by if module.startswith("refused"))

    @property
    def sentence(self) -> str:
        """What is wrong, as a sentence; empty if everything passed."""
        if self.refused:
            return f"this build refuses {', '.join(self.refused)}"
        return "" if self.passed else "this build computes a wrong value"


def selftest() -> SelfTest:
    """Compute the test values of FIPS 180-4, RFC 4226, RFC 6238 and RFC 5869.

    The test includes AES-256-GCM and Ed25519 if the extras ``sealing`` and ``signing`` are
    installed. It takes milliseconds,
    reads no file and changes nothing. A computation that raises an error has failed.

    :returns: the report.
    """
    return SelfTest(
        tuple(_compare(source, expected, compute) for source, expected, compute in _values()),
        _versions(),
        computed_by(),
    )


def computed_by() -> tuple[tuple[str, str], ...]:
    """Return the primitives that vmfa uses, each with the module that computes it.

    That is "OpenSSL", a module of Python, or "refused" and the error.
    """
    primitives: dict[str, Callable[[], str]] = {
        name: partial(_hash_module, new) for name, (new, *_) in HASHES.items()
    }
    # hmac uses this one if OpenSSL refuses the hash.
    primitives["hmac with sha256"] = partial(_hash_module, partial(hashlib.new, "sha256"))
    primitives["HKDF with sha256"] = _hkdf_module
    primitives["comparison"] = _comparison_module
    primitives["random bytes"] = _random_source
    if find_spec("cryptography"):
        primitives["AES-256-GCM"] = partial(_cryptography_library, _aes_gcm)
        primitives["Ed25519"] = partial(_cryptography_library, _ed25519)
    return tuple((name, _or_refused(module)) for name, module in primitives.items())


def _compare(source: str, expected: object, compute: Callable[[], object]) -> KnownAnswer:
    try:
        computed = compute()
    except Exception as error:  # noqa: BLE001  # any error means that the value was not computed
        return KnownAnswer(source, passed=False, problem=f"refused: {type(error).__name__}")
    passed = computed == expected
    return KnownAnswer(source, passed, "" if passed else "wrong value")


def _or_refused(module: Callable[[], str]) -> str:
    try:
        return module()
    except Exception as error:  # noqa: BLE001  # as above
        return f"refused: {type(error).__name__}"


def _hash_module(new: Callable[[], Any]) -> str:
    module = type(new()).__module__
    return "OpenSSL" if module == "_hashlib" else f"Python ({module})"


def _hkdf_module() -> str:
    return f"Python ({hkdf_expand.__module__}), over HMAC"


def _comparison_module() -> str:
    module = compare_digest.__module__
    return "OpenSSL" if module == "_hashlib" else f"Python ({module})"


def _random_source() -> str:
    return f"the operating system ({platform.system()}), with os.urandom"


def _cryptography_library(compute: Callable[[], str]) -> str:
    """Return the package and its OpenSSL, which is not the one of Python."""
    from cryptography import __version__
    from cryptography.hazmat.backends.openssl import backend

    compute()
    return f"cryptography {__version__}, {backend.openssl_version_text()}"


def _aes_gcm() -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(bytes(32)).encrypt(bytes(12), bytes(16), b"").hex()


def _ed25519() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(_ED25519_KEY))
    signature = key.sign(b"")
    key.public_key().verify(signature, b"")
    return signature.hex()


def _versions() -> str:
    openssl = openssl_version().replace("none", "no OpenSSL")
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"vmfa {vmfa_version()}, {python}, {openssl}, {platform.system()} {platform.machine()}"


def _values() -> Iterator[tuple[str, object, Callable[[], object]]]:
    """Yield where each value is published, the value, and a function that computes it."""
    for algorithm, digest in _ABC.items():
        yield f"FIPS 180-4, {algorithm}", digest, partial(_digest, HASHES[algorithm][0])
    for counter, code in enumerate(_HOTP.split()):
        compute = partial(hotp, _SEED[:20], counter)
        yield f"RFC 4226 Appendix D, counter {counter}", code, compute
    for at, codes in _TOTP.items():
        for (algorithm, size), code in zip(_SIZES.items(), codes.split(), strict=True):
            compute = partial(totp, _SEED[:size], at, digits=8, algorithm=algorithm)
            yield f"RFC 6238 Appendix B, {algorithm}, time {at}", code, compute
    for number, (secret, salt, info, prk_hex, okm_hex) in enumerate(_HKDF, 1):
        prk, okm = bytes.fromhex(prk_hex), bytes.fromhex(okm_hex)
        extract, expand = partial(hkdf_extract, salt, secret), partial(hkdf_expand, prk, info)
        yield f"RFC 5869 Appendix A.{number}, extract", prk, extract
        yield f"RFC 5869 Appendix A.{number}, expand", okm, partial(expand, len(okm))
    if find_spec("cryptography"):
        yield "GCM specification, test case 14, AES-256", _GCM, _aes_gcm
        yield "RFC 8032 section 7.1, test 1, Ed25519", _ED25519, _ed25519
    for algorithm in HASHES:
        yield f"RFC 2104, prepared keys, {algorithm}", True, partial(_is_hmac, algorithm)


def _digest(new: Callable[[bytes], Any]) -> str:
    digest: str = new(b"abc").hexdigest()
    return digest


def _is_hmac(algorithm: str) -> bool:
    """Return whether a prepared key gives the HMAC, for keys around the size of a block."""
    message = bytes(range(8))
    for size in (16, 20, 32, 63, 64, 65, 127, 128, 129):
        key = bytes(range(size))
        inner, outer = prepared_hmac(key, algorithm)
        inner.update(message)
        outer.update(inner.digest())
        if outer.digest() != hmac_digest(key, message, algorithm):
            return False
    return True
