"""Compute the digests and tags of frozen_v1.json with another HKDF than the library's.

``python tests/vectors/compute_tags.py`` reads the documents in the file and rewrites it. Run it
after a change of the stored format, which happens only before the first release.
"""

from __future__ import annotations

import hmac
import json
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FILE = Path(__file__).with_name("frozen_v1.json")


def encode(*fields: str | int | bytes) -> bytes:
    """Each field as bytes, prefixed by its length in four bytes."""
    raw = [field if isinstance(field, bytes) else str(field).encode() for field in fields]
    return b"".join(len(field).to_bytes(4, "big") + field for field in raw)


def derive(master: bytes, length: int, *info: str | int) -> bytes:
    return HKDF(SHA256(), length, salt=b"vmfa", info=encode(*info)).derive(master)


def tag(master: bytes, purpose: str, message: bytes) -> str:
    key_id = derive(master, 8, "vmfa master key id v1").hex()
    key = derive(master, 32, "vmfa subkey v1", purpose, key_id)
    return f"{key_id}.{hmac.new(key, message, 'sha256').hexdigest()}"


def main() -> None:
    frozen = json.loads(FILE.read_text("utf-8"))
    master = bytes.fromhex(frozen["master_key_ids"][0]["master"])
    for row in frozen["records"]:
        fields = [row[name] for name in ("account", "kind", "name", "revision", "document")]
        message = encode("vmfa record v1", *fields)
        row["tag"] = tag(master, "record", message)
        row["audit_tag"] = tag(master, "audit", encode("record", message))
    history = frozen["history"]
    who = [history[name] for name in ("account", "kind", "name")]
    head = ""
    for event in history["events"]:
        content = sha256(encode("vmfa event content v1", event["salt"], event["document"]))
        event["content_digest"] = content.hexdigest()
        place = [event["number"], head, event["redactable"], event["content_digest"]]
        head = event["digest"] = sha256(encode("vmfa event v1", *who, *place)).hexdigest()
        message = encode("vmfa audit event v1", *who, event["number"], head)
        event["audit_tag"] = tag(master, "audit", encode("event", message))
    FILE.write_text(json.dumps(frozen, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
