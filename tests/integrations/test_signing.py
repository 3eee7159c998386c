"""Signed checkpoints: what a signature covers, and what does not count as one."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from vmfa import PrincipalId, keys as keys_module
from vmfa.audit import AuditFailed, Checkpoint, checkpoint_document, read_checkpoints
from vmfa.errors import InvalidValue, MissingExtra
from vmfa.integrations.signing import SignatureInvalid, SigningKey, VerifyingKey, signed_text

ALICE = PrincipalId.user("123456789012", "u-4711")
CHECKPOINT = Checkpoint(principal=ALICE, revision=7, tag="k.t", events=2, head="ab" * 32)
DOCUMENT = checkpoint_document([CHECKPOINT], 1_700_000_000)
# RFC 8037, appendix A: an Ed25519 key, its thumbprint
RFC_PRIVATE = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def encoded(value: object) -> str:
    text = json.dumps(value, separators=(",", ":")).encode()
    return urlsafe_b64encode(text).rstrip(b"=").decode()


def decoded(text: str) -> Any:
    return json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def signed(key: SigningKey) -> dict[str, str]:
    parts: dict[str, str] = json.loads(key.sign(DOCUMENT))
    return parts


def test_a_signed_checkpoint_is_read_again(key: SigningKey) -> None:
    """RULE-CHECKPOINT-SIGNED: the document comes back with the key that signed it."""
    text, signer = signed_text(key.sign(DOCUMENT), [key.public])
    assert read_checkpoints(text) == [CHECKPOINT]
    assert json.loads(text) == DOCUMENT
    assert signer is key.public


def test_it_is_a_json_web_signature(key: SigningKey, signed: dict[str, str]) -> None:
    """RFC 7515, section 7.2.2: payload, protected header and signature."""
    assert list(signed) == ["payload", "protected", "signature"]
    assert decoded(signed["protected"]) == {
        "alg": "EdDSA", "kid": key.public.key_id, "typ": "vmfa-checkpoint+json"
    }
    assert decoded(signed["payload"]) == DOCUMENT
    assert not any("=" in part for part in signed.values())


def test_the_id_of_a_key_is_its_thumbprint() -> None:
    """RFC 8037, appendix A.3."""
    raw = Ed25519PrivateKey.from_private_bytes(RFC_PRIVATE)
    assert SigningKey(raw).public.key_id == RFC_THUMBPRINT


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_checks_the_signature(
    key: SigningKey, signed: dict[str, str], tmp_path: Path
) -> None:
    """RULE-CHECKPOINT-SIGNED: another program confirms it, with the public key alone."""
    signature = urlsafe_b64decode(signed["signature"] + "==")
    files = {
        "key.pub": key.public.to_pem(), "signature": signature,
        "message": f"{signed['protected']}.{signed['payload']}".encode(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    command = [
        "openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", "key.pub", "-sigfile",
        "signature", "-in", "message",
    ]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "message").write_bytes(files["message"] + b"x")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1


# What does not count


def resigned(key: SigningKey, header: dict[str, object], payload: str) -> str:
    """Return what *key* signs under another header."""
    protected = encoded(header)
    signature = key._private.sign(f"{protected}.{payload}".encode())
    text = urlsafe_b64encode(signature).rstrip(b"=").decode()
    return json.dumps({"payload": payload, "protected": protected, "signature": text})


def test_a_changed_document_is_noticed(key: SigningKey, signed: dict[str, str]) -> None:
    """RULE-CHECKPOINT-SIGNED: every field of the checkpoint is covered."""
    for field, value in {"revision": 1, "events": 1, "head": "cd" * 32, "name": "u-4712"}.items():
        document = decoded(signed["payload"])
        assert document["checkpoints"][0][field] != value
        document["checkpoints"][0][field] = value
        with pytest.raises(SignatureInvalid, match="the signature is wrong"):
            signed_text(json.dumps({**signed, "payload": encoded(document)}), [key.public])


def test_a_changed_signature_is_noticed(key: SigningKey, signed: dict[str, str]) -> None:
    other = json.loads(key.sign({**DOCUMENT, "v": 2}))["signature"]
    for signature in (other, other[:-2], ""):
        with pytest.raises(SignatureInvalid, match="the signature is wrong"):
            signed_text(json.dumps({**signed, "signature": signature}), [key.public])


def test_the_signature_of_another_key_does_not_count(key: SigningKey) -> None:
    """RULE-CHECKPOINT-SIGNED: only the keys that the auditor passes count."""
    text = key.sign(DOCUMENT)
    for keys in ([], [SigningKey.generate().public]):
        with pytest.raises(SignatureInvalid, match="a key that was not passed"):
            signed_text(text, keys)
    others = [SigningKey.generate().public, key.public]  # after a rotation
    assert signed_text(text, others)[1] is key.public


def test_a_key_id_is_not_a_signature(key: SigningKey, signed: dict[str, str]) -> None:
    """The header names a trusted key, and another key signed."""
    header = decoded(signed["protected"])
    forged = resigned(SigningKey.generate(), header, signed["payload"])
    with pytest.raises(SignatureInvalid, match="the signature is wrong"):
        signed_text(forged, [key.public])


@pytest.mark.parametrize(
    "changes", [{"alg": "none"}, {"alg": "HS256"}, {"typ": "JWT"}, {"crit": ["exp"]}]
)
def test_a_signature_for_another_purpose_does_not_count(
    key: SigningKey, signed: dict[str, str], changes: dict[str, object]
) -> None:
    """RULE-CHECKPOINT-SIGNED: the type and the algorithm are part of what is signed."""
    header = {**decoded(signed["protected"]), **changes}
    with pytest.raises(SignatureInvalid, match="another way or for another purpose"):
        signed_text(resigned(key, header, signed["payload"]), [key.public])


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: json.dumps(DOCUMENT),
        lambda parts: "",
        lambda parts: "[]",
        lambda parts: "[" * 100_000,
        lambda parts: json.dumps({**parts, "protected": "é"}),
        lambda parts: json.dumps({**parts, "protected": "W10"}),
        lambda parts: json.dumps({**parts, "protected": "e30"}),
        lambda parts: json.dumps({**parts, "payload": 1}),
        lambda parts: json.dumps({**parts, "payload": "_w"}),
        lambda parts: json.dumps({**parts, "signature": None}),
        lambda parts: json.dumps({"payload": parts["payload"]}),
    ],
    ids=range(11),
)
def test_a_file_that_is_not_signed_is_refused(
    key: SigningKey, signed: dict[str, str], change: Callable[[dict[str, str]], str]
) -> None:
    with pytest.raises(SignatureInvalid, match="not a signed checkpoint") as caught:
        signed_text(change(signed), [key.public])
    assert isinstance(caught.value, AuditFailed)
    assert caught.value.reason == "signature invalid"


def test_a_signed_checkpoint_is_not_read_without_a_check(key: SigningKey) -> None:
    """RULE-CHECKPOINT-SIGNED: nothing reads it as though it were unsigned."""
    with pytest.raises(InvalidValue, match="the checkpoints are signed"):
        read_checkpoints(key.sign(DOCUMENT))


# Keys


def test_keys_are_kept_in_pem_files(key: SigningKey) -> None:
    again = SigningKey.from_pem(key.to_pem())
    public = VerifyingKey.from_pem(key.public.to_pem())
    assert again.public.key_id == public.key_id == key.public.key_id
    assert signed_text(again.sign(DOCUMENT), [public])[1] is public
    assert key.to_pem().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert key.public.to_pem().startswith(b"-----BEGIN PUBLIC KEY-----\n")


def test_a_new_key_draws_32_bytes_of_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """ASVS5-11.5.1: the key is what the generator returned."""
    drawn = []

    def urandom(size: int) -> bytes:
        drawn.append(sha256(b"%d" % size).digest()[:size])
        return drawn[-1]

    monkeypatch.setattr("vmfa.keys.urandom", urandom)
    keys_module._latest_draws.clear()
    key = SigningKey.generate()
    raw = key._private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    assert drawn == [raw]
    assert len(raw) == 32


def test_a_signing_key_does_not_print(key: SigningKey) -> None:
    assert repr(key) == "<SigningKey>"


PLAIN = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
ED448 = ed448.Ed448PrivateKey.generate()
ENCRYPTED = Ed25519PrivateKey.generate().private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")
)


@pytest.mark.parametrize(
    "pem",
    [b"", b"-----BEGIN PRIVATE KEY-----\n", ENCRYPTED, ED448.private_bytes(*PLAIN),
     SigningKey.generate().public.to_pem()],
    ids=["empty", "cut off", "encrypted", "ed448", "public"],
)
def test_another_file_is_not_a_signing_key(pem: bytes) -> None:
    with pytest.raises(InvalidValue, match="not a private Ed25519 key") as caught:
        SigningKey.from_pem(pem)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "pem",
    [b"", ED448.public_key().public_bytes(*PUBLIC),
     rsa.generate_private_key(65537, 2048).public_key().public_bytes(*PUBLIC),
     SigningKey.generate().to_pem()],
    ids=["empty", "ed448", "rsa", "private"],
)
def test_another_file_is_not_a_verifying_key(pem: bytes) -> None:
    with pytest.raises(InvalidValue, match="not a public Ed25519 key"):
        VerifyingKey.from_pem(pem)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "vmfa.integrations.signing"
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.delitem(sys.modules, module)
    with pytest.raises(MissingExtra, match=r"vmfa\[signing\]"):
        importlib.import_module(module)
