"""``vmfa keys signing-key``, ``vmfa audit signer``, ``--sign`` and ``--signed-by``."""

from __future__ import annotations

import json
import stat
from hashlib import sha256
from pathlib import Path

import pytest
from test_cli_audit import Audit

from vmfa import SQLiteStore
from vmfa.cli.main import main
from vmfa.integrations.signing import SigningKey, VerifyingKey


@pytest.fixture
def audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Audit:
    return Audit(tmp_path, capsys)


def run(audit: Audit, *arguments: str) -> tuple[int, str, str]:
    """Run a command that takes no database and no master key."""
    return main([*arguments], clock=audit.clock), *audit._capsys.readouterr()


@pytest.fixture
def key(audit: Audit) -> str:
    path = str(audit.folder / "sign.pem")
    assert run(audit, "keys", "signing-key", path)[0] == 0
    return path


@pytest.fixture
def checkpoint(audit: Audit, key: str) -> str:
    code, out, err = audit.run("checkpoint", "123", "--sign", key)
    assert (code, err) == (0, "")
    path = audit.folder / "signed.json"
    path.write_text(out)
    return str(path)


def test_a_signing_key_is_private_and_its_public_key_is_not(audit: Audit) -> None:
    path = audit.folder / "sign.pem"
    code, out, _ = run(audit, "keys", "signing-key", str(path), "--json")
    assert code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = VerifyingKey.from_pem((audit.folder / "sign.pem.pub").read_bytes())
    assert SigningKey.from_pem(path.read_bytes()).public.key_id == public.key_id
    data = json.loads(out)
    assert data.pop("notice").startswith("the signing key is in the file")
    assert data == {
        "file": str(path), "public_file": f"{path}.pub", "key_id": public.key_id
    }


def test_no_file_is_overwritten_and_no_key_is_printed(audit: Audit, key: str) -> None:
    before = Path(key).read_bytes()
    code, out, err = run(audit, "keys", "signing-key", key)
    assert (code, out) == (5, "")
    assert err == "vmfa: the public key file exists already and was not changed\n"
    Path(f"{key}.pub").unlink()
    code, out, err = run(audit, "keys", "signing-key", key)
    assert (code, out) == (5, "")
    assert err == "vmfa: the signing key file exists already and was not changed\n"
    assert Path(key).read_bytes() == before
    assert run(audit, "keys", "signing-key", "-")[0] == 2
    code, _, err = run(audit, "keys", "signing-key", str(audit.folder / "none" / "sign.pem"))
    assert code == 5
    assert err.startswith("vmfa: the public key file cannot be created: ")


def test_a_signed_checkpoint_is_compared(audit: Audit, key: str, checkpoint: str) -> None:
    """RULE-CHECKPOINT-SIGNED: with the public key, the commands read it as an unsigned one."""
    option = ("--signed-by", f"{key}.pub")
    assert audit.report("compare", checkpoint, *option)[0] == 0
    assert audit.run("export", "123", "--since", checkpoint, *option)[:2] == (0, "")
    audit.edit("DELETE FROM principal WHERE name = 'alice'")
    code, lines, _ = audit.report("compare", checkpoint, *option)
    assert code == 5
    assert "123/user/alice  record tampered: event 1" in lines[0]


def test_json_and_text_of_a_signed_checkpoint_are_the_same(audit: Audit, key: str) -> None:
    text = audit.run("checkpoint", "123", "--sign", key)[1]
    data = audit.run("checkpoint", "123", "--sign", key, "--json")[1]
    assert json.loads(text) == json.loads(data)  # Ed25519 signatures are deterministic


def test_a_reseal_takes_a_signed_checkpoint(audit: Audit, key: str, checkpoint: str) -> None:
    """RULE-LEAK, RULE-CHECKPOINT-SIGNED."""
    options = ["--db", str(audit.db), "--key-file", str(audit.key), "--checkpoint", checkpoint]
    code, _, err = run(audit, "keys", "reseal", "123", *options)
    assert (code, "the checkpoints are signed" in err) == (2, True)
    code, out, _ = run(audit, "keys", "reseal", "123", *options, "--signed-by", f"{key}.pub")
    assert (code, "resealed" in out) == (0, True)


def test_a_signature_is_required_where_a_key_is_given_and_checked_where_there_is_one(
    audit: Audit, key: str, checkpoint: str
) -> None:
    """RULE-CHECKPOINT-SIGNED: neither side can be left out by mistake."""
    code, _, err = audit.run("compare", checkpoint)
    assert (code, "the checkpoints are signed" in err) == (2, True)
    unsigned = audit.keep_checkpoint("123")
    code, _, err = audit.run("compare", unsigned, "--signed-by", f"{key}.pub")
    assert (code, err) == (5, "vmfa: the file is not a signed checkpoint\n")
    text = Path(checkpoint).read_text()
    Path(checkpoint).write_text(text.replace('"payload":"e', '"payload":"f'))
    code, _, err = audit.run("compare", checkpoint, "--signed-by", f"{key}.pub")
    assert (code, err) == (5, "vmfa: the signature is wrong: the file was changed\n")


def test_who_signed_is_checked_without_a_database(
    audit: Audit, key: str, checkpoint: str
) -> None:
    """RULE-CHECKPOINT-SIGNED: an outsider needs the file and the public key."""
    audit.db.unlink()
    audit.key.unlink()
    other = str(audit.folder / "other.pem")
    run(audit, "keys", "signing-key", other)
    keys = ("--signed-by", f"{other}.pub", "--signed-by", f"{key}.pub")
    code, out, _ = run(audit, "audit", "signer", checkpoint, *keys)
    key_id = VerifyingKey.from_pem(Path(f"{key}.pub").read_bytes()).key_id
    digest = sha256(Path(checkpoint).read_bytes()).hexdigest()
    assert (code, out.splitlines()) == (0, [
        f"the signature is right: key {key_id}", "checkpoints: 2", f"SHA-256 of the file: {digest}"
    ])
    code, out, _ = run(audit, "audit", "signer", checkpoint, *keys, "--json")
    assert json.loads(out) == {"key_id": key_id, "checkpoints": 2, "sha256": digest}
    code, _, err = run(audit, "audit", "signer", checkpoint, *keys[:2])
    assert (code, err) == (5, "vmfa: the file is signed by a key that was not passed\n")
    code, _, err = run(audit, "audit", "signer", checkpoint)
    assert (code, err) == (2, "vmfa: no key: pass --signed-by\n")


def test_a_file_that_is_not_a_key_is_refused(audit: Audit, key: str, checkpoint: str) -> None:
    code, _, err = audit.run("checkpoint", "123", "--sign", str(audit.key))
    assert (code, "not a private Ed25519 key" in err) == (2, True)
    code, _, err = audit.run("compare", checkpoint, "--signed-by", key)
    assert (code, "not a public Ed25519 key" in err) == (2, True)
    Path(key).chmod(0o644)
    code, _, err = audit.run("checkpoint", "123", "--sign", key)
    assert (code, "can be accessed by other users" in err) == (5, True)


def test_a_history_that_is_not_intact_is_left_out_and_the_rest_is_signed(
    audit: Audit, key: str
) -> None:
    audit.edit("DELETE FROM event WHERE name = 'alice' AND number = 2")
    code, out, _ = audit.run("checkpoint", "123", "--sign", key)
    assert code == 5
    path = audit.folder / "signed.json"
    path.write_text(out)
    code, lines, _ = audit.report("compare", str(path), "--signed-by", f"{key}.pub")
    assert (code, lines) == (0, ["123/user/bob  intact: 2 events"])
    with SQLiteStore(audit.db) as store:
        assert len(store.principals("123")) == 2
