"""Compute the tags of frozen_v1.json from its documents, with another HKDF than the library's.

``python tests/vectors/compute_tags.py`` rewrites the file. Run it after a change of the stored
format, which happens only before a release: afterwards the file is never changed.
"""

from __future__ import annotations

import hmac
import json
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE = Path(__file__).with_name("frozen_v1.json")


def encode(*fields: str | int) -> bytes:
    """Each field as text, prefixed by its length in four bytes."""
    texts = [str(field).encode() for field in fields]
    return b"".join(len(text).to_bytes(4, "big") + text for text in texts)


def derive(master: bytes, length: int, *info: str | int) -> bytes:
    return HKDF(SHA256(), length, salt=b"vmfa", info=encode(*info)).derive(master)


def tag(master: bytes, purpose: str, *fields: str | int) -> str:
    key_id = derive(master, 8, "vmfa master key id v1").hex()
    key = derive(master, 32, "vmfa subkey v1", purpose, key_id)
    return f"{key_id}.{hmac.new(key, encode(*fields), 'sha256').hexdigest()}"


def main() -> None:
    frozen = json.loads(FILE.read_text("utf-8"))
    master = bytes.fromhex(frozen["master_key_ids"][0]["master"])
    for row in frozen["records"]:
        fields = [row[name] for name in ("account", "kind", "name", "revision", "document")]
        row["tag"] = tag(master, "record", "vmfa record v1", *fields)
    history = frozen["history"]
    who = [history[name] for name in ("account", "kind", "name")]
    head = ""
    for event in history["events"]:
        fields = [*who, event["number"], head, event["document"]]
        head = event["tag"] = tag(master, "history", "vmfa event v1", *fields)
    FILE.write_text(json.dumps(frozen, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
