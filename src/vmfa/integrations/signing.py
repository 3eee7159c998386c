"""Sign checkpoints with Ed25519, and check the signatures (extra ``signing``).

A signed checkpoint is a JSON Web Signature (RFC 7515, flattened JSON; RFC 8037, ``EdDSA``), so any
JOSE library checks it, and OpenSSL too. Keys are PEM files (PKCS #8, SubjectPublicKeyInfo). The id
of a key is its JWK thumbprint (RFC 7638).
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from ..audit import AuditFailed
from ..errors import InvalidValue, MissingExtra
from ..keys import Opaque, random_bytes

try:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
        load_pem_private_key,
        load_pem_public_key,
    )
except ImportError:
    raise MissingExtra("signatures need the extra signing: pip install 'vmfa[signing]'") from None

__all__ = ["SignatureInvalid", "SigningKey", "VerifyingKey", "signed_text"]

KEY_BYTES: Final = 32
ALGORITHM: Final = "EdDSA"
TYPE: Final = "vmfa-checkpoint+json"  # so that a signature for another purpose does not count


class SignatureInvalid(AuditFailed):
    """The file is not signed, or not by one of the keys, or was changed afterwards."""

    reason = "signature invalid"


class VerifyingKey:
    """The public half of a :class:`SigningKey`. It checks signatures and is not a secret.

    :ivar key_id: the JWK thumbprint of the key.
    """

    __slots__ = ("_public", "key_id")

    def __init__(self, public: Ed25519PublicKey) -> None:
        self._public = public
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        jwk = f'{{"crv":"Ed25519","kty":"OKP","x":"{_encoded(raw)}"}}'
        self.key_id = _encoded(sha256(jwk.encode()).digest())

    @classmethod
    def from_pem(cls, pem: bytes) -> VerifyingKey:
        """Return the key in a PEM file.

        :raises InvalidValue: *pem* is not a public Ed25519 key.
        """
        try:
            public = load_pem_public_key(pem)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            public = None
        if isinstance(public, Ed25519PublicKey):
            return cls(public)
        raise InvalidValue("not a public Ed25519 key in PEM: BEGIN PUBLIC KEY is expected")

    def to_pem(self) -> bytes:
        """Return the key as PEM."""
        return self._public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def matches(self, message: bytes, signature: bytes) -> bool:
        """Return whether *signature* is that of *message*."""
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            return False
        return True


class SigningKey(Opaque):
    """An Ed25519 key. It signs checkpoints, and neither computes codes nor authenticates records.

    :ivar public: the key that checks its signatures.
    """

    __slots__ = ("_private", "public")
    _private: Ed25519PrivateKey
    public: VerifyingKey

    def __init__(self, private: Ed25519PrivateKey) -> None:
        super().__init__(_private=private, public=VerifyingKey(private.public_key()))

    @classmethod
    def generate(cls) -> SigningKey:
        """Return a new key from the operating system's generator."""
        # ASVS5-11.6.1
        return cls(Ed25519PrivateKey.from_private_bytes(random_bytes(KEY_BYTES)))

    @classmethod
    def from_pem(cls, pem: bytes) -> SigningKey:
        """Return the key in a PEM file without a passphrase.

        :raises InvalidValue: *pem* is not a private Ed25519 key.
        """
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        del pem  # error trackers record the locals of a raising frame
        if isinstance(private, Ed25519PrivateKey):
            return cls(private)
        del private
        raise InvalidValue(
            "not a private Ed25519 key in PEM without a passphrase: BEGIN PRIVATE KEY is expected"
        )

    def to_pem(self) -> bytes:
        """Return the key as PEM without a passphrase. It is a secret."""
        return self._private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )

    def sign(self, document: Mapping[str, object]) -> str:
        """Return *document* and its signature as one line of JSON.

        :param document: from :func:`vmfa.audit.checkpoint_document`.
        """
        header = {"alg": ALGORITHM, "kid": self.public.key_id, "typ": TYPE}
        protected, payload = (_encoded(_json(value)) for value in (header, document))
        # RULE-CHECKPOINT-SIGNED
        signature = self._private.sign(_signing_input(protected, payload))
        signed = {"payload": payload, "protected": protected, "signature": _encoded(signature)}
        return _json(signed).decode()


def signed_text(text: str, keys: Iterable[VerifyingKey]) -> tuple[str, VerifyingKey]:
    """Return the document that *text* signs, and the key that signed it.

    :param text: what :meth:`SigningKey.sign` returned.
    :param keys: the keys that may have signed it: the current one, and those before it.
    :returns: a text for :func:`vmfa.audit.read_checkpoints`, and one of *keys*.
    :raises SignatureInvalid: *text* is not signed, or not by one of *keys*, or was changed.
    """
    try:
        signed = json.loads(text)
        protected, payload = signed["protected"], signed["payload"]
        message = _signing_input(protected, payload)
        signature = _decoded(signed["signature"])
        header = json.loads(_decoded(protected))
        document = _decoded(payload).decode()
        wanted = (header["alg"], header["typ"]) == (ALGORITHM, TYPE)
        key_id, is_critical = header["kid"], "crit" in header
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise SignatureInvalid("the file is not a signed checkpoint") from None
    # RULE-CHECKPOINT-SIGNED
    if not wanted or is_critical:
        raise SignatureInvalid("the file is signed in another way or for another purpose")
    for key in keys:
        if key.key_id == key_id:
            if key.matches(message, signature):  # RULE-CHECKPOINT-SIGNED
                return document, key
            raise SignatureInvalid("the signature is wrong: the file was changed")
    raise SignatureInvalid("the file is signed by a key that was not passed")


def _signing_input(protected: str, payload: str) -> bytes:
    return f"{protected}.{payload}".encode("ascii")


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def _encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
