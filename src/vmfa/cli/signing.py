"""Signed checkpoints: their options, ``vmfa keys signing-key`` and ``vmfa audit signer``.

The extra ``signing`` is imported only when one of them is used.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import ModuleType
from typing import Any

from ..audit import Checkpoint, read_checkpoints
from .context import CommandContext, CommandResult, load_extra
from .errors import WrongUsage
from .io import create_private_file, create_public_file, read_private_file, read_source

SIGNING_KEY_NOTICE = (
    "the signing key is in the file, and the key that checks its signatures is in the file with"
    " .pub. Keep the signing key away from the database; give the other one to every auditor"
)


def add_sign(parser: argparse.ArgumentParser) -> None:
    """Add the option that signs what is printed."""
    parser.add_argument(
        "--sign",
        metavar="FILE",
        help="sign the checkpoint with what vmfa keys signing-key wrote",
    )


def add_signed_by(parser: argparse.ArgumentParser) -> None:
    """Add the option that requires a signature."""
    parser.add_argument(
        "--signed-by",
        action="append",
        default=[],
        metavar="FILE",
        help="the checkpoint must be signed by this .pub key; repeatable",
    )


def add_new_signing_key_file(parser: argparse.ArgumentParser) -> None:
    """Add the argument of ``vmfa keys signing-key``."""
    parser.add_argument(
        "file", metavar="FILE", help="the file, which must not exist, nor FILE.pub"
    )


def signing_key(context: CommandContext) -> CommandResult:
    """Write a new signing key and its public key."""
    path = context.args.file
    if path == "-":
        raise WrongUsage("a key is never printed: give the name of a new file")
    key = _extra().SigningKey.generate()
    create_public_file(f"{path}.pub", key.public.to_pem(), "public key file")
    try:
        create_private_file(path, key.to_pem(), "signing key file")
    except BaseException:
        os.unlink(f"{path}.pub")  # without its private half
        raise
    data = {
        "file": path, "public_file": f"{path}.pub", "key_id": key.public.key_id,
        "notice": SIGNING_KEY_NOTICE,
    }
    return CommandResult(data=data, text=[SIGNING_KEY_NOTICE, f"key id: {key.public.key_id}"])


def sign(context: CommandContext, document: Mapping[str, object]) -> str | None:
    """Return *document*, signed with the key of ``--sign``; None without that option."""
    path = context.args.sign
    if path is None:
        return None
    extra = _extra()
    hint = "create one with 'vmfa keys signing-key FILE'"
    pem = read_private_file(path, "signing key file", hint=hint)
    try:
        signed: str = extra.SigningKey.from_pem(pem).sign(document)
    finally:  # error trackers record the locals of a raising frame
        del pem
    return signed


def read_checkpoint_file(context: CommandContext, path: str) -> list[Checkpoint]:
    """Return the checkpoints in a file, whose signature is checked if ``--signed-by`` says so."""
    text = read_source(path)
    if context.args.signed_by:
        text, _ = _extra().signed_text(text, _public_keys(context.args.signed_by))
    return read_checkpoints(text)


def check_signature(context: CommandContext) -> CommandResult:
    """Say who signed a checkpoint, without a database and without any other key."""
    if not context.args.signed_by:
        raise WrongUsage("no key: pass --signed-by")
    signed = read_source(context.args.file)
    text, key = _extra().signed_text(signed, _public_keys(context.args.signed_by))
    count = len(read_checkpoints(text))
    digest = sha256(signed.encode()).hexdigest()
    data = {"key_id": key.key_id, "checkpoints": count, "sha256": digest}
    return CommandResult(
        data=data,
        text=[
            f"the signature is right: key {key.key_id}",
            f"checkpoints: {count}",
            f"SHA-256 of the file: {digest}",
        ],
    )


def _public_keys(paths: Sequence[str]) -> list[Any]:
    extra = _extra()
    return [extra.VerifyingKey.from_pem(read_source(path).encode()) for path in paths]


def _extra() -> ModuleType:
    return load_extra("vmfa.integrations.signing", "signing", "signatures need")
