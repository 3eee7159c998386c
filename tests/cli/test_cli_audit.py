"""``vmfa audit``: every command over real files, with the exit codes of the command line."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from vmfa import Actor, DerivedKeys, DeviceRegistry, Policy, PrincipalId, SQLiteStore
from vmfa.audit import verify_history
from vmfa.cli.main import main
from vmfa.ocsf import ocsf_line
from vmfa.self_test import computed_by
from vmfa.testing import AuthenticatorApp, FrozenClock

MASTER = bytes(range(32))
ALICE, BOB, ROOT = (
    PrincipalId.user("123", "alice"),
    PrincipalId.user("123", "bob"),
    PrincipalId.root("1/2"),
)
ENVIRONMENT = ["vmfa", "commit", "time", "host", "system", "python", "openssl", "fips"]


def content_of(report: str) -> list[str]:
    """Return the lines of a report without its frame, which is checked."""
    lines = report.splitlines()
    above = [line.partition(":") for line in lines]
    assert [name for name, _, _ in above[: len(ENVIRONMENT)]] == ENVIRONMENT
    primitives = computed_by()
    start = len(ENVIRONMENT) + len(primitives)
    assert lines[len(ENVIRONMENT) : start] == [
        f"{name}: computed by {module}" for name, module in primitives
    ]
    end = next(number for number, (name, _, _) in enumerate(above) if name == "policy")
    assert [line.split()[1] for line in lines[end:-1]] == [item.name for item in fields(Policy)]
    assert lines[-1].startswith("digest: ")
    return lines[start:end]


class Audit:
    """The command line over Alice and Bob of one account and the root of another."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.db, self.key = folder, folder / "mfa.db", folder / "master.key"
        self.key.write_bytes(MASTER)
        self.key.chmod(0o600)
        self.clock, self._capsys = FrozenClock(), capsys
        with SQLiteStore(self.db) as store:
            for who in (ALICE, BOB, ROOT):
                self.enroll(self.registry(store), who)

    def enroll(self, registry: DeviceRegistry, who: PrincipalId) -> None:
        owner = Actor.signed_in(who)
        opened = registry.open_enrollment(who, by=owner, label="x")
        first, second = AuthenticatorApp(self.clock).scan(opened.uri).two_codes()
        registry.confirm_enrollment(
            who, session=opened.session_id, code1=first, code2=second, by=owner
        )

    def registry(self, store: SQLiteStore) -> DeviceRegistry:
        return DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=self.clock)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        code = main(
            ["audit", *arguments, "--db", str(self.db), "--key-file", str(self.key)],
            clock=self.clock,
        )
        return code, *self._capsys.readouterr()

    def report(self, *arguments: str) -> tuple[int, list[str], str]:
        """Exit code, the lines between environment and policy, standard error."""
        code, out, err = self.run(*arguments)
        return code, content_of(out), err

    def keep_checkpoint(self, *accounts: str) -> str:
        code, out, _ = self.run("checkpoint", *accounts)
        assert code == 0
        path = self.folder / "checkpoint.json"
        path.write_text(out)
        return str(path)

    def edit(self, statement: str) -> None:
        with closing(sqlite3.connect(self.db)) as database, database:
            assert database.execute(statement).rowcount > 0


@pytest.fixture
def audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Audit:
    return Audit(tmp_path, capsys)


def test_verify_names_every_principal_of_the_accounts(audit: Audit) -> None:
    code, lines, err = audit.report("verify", "123", "1%2F2")
    assert (code, err) == (0, "")
    assert lines == [
        "123/user/alice  intact: 2 events",
        "123/user/bob  intact: 2 events",
        "1%2F2/root/  intact: 2 events",
    ]


def test_verify_goes_on_after_broken_histories_and_fails(audit: Audit) -> None:
    audit.edit("UPDATE event SET digest = digest || '0' WHERE number = 1 AND name != ''")
    code, lines, err = audit.report("verify", "123", "1%2F2")
    assert code == 5
    assert re.match(r"123/user/alice  record tampered: .*\b1\b", lines[0])
    assert lines[0].endswith(" [event 1: unreadable]")
    assert lines[2] == "1%2F2/root/  intact: 2 events"
    assert re.fullmatch(r"vmfa: 123/user/alice: .*\b1\b.*; and 1 more\n", err)


def test_verify_in_json(audit: Audit) -> None:
    audit.edit("DELETE FROM event WHERE name = 'bob' AND number = 2")
    code, out, err = audit.run("verify", "123", "--json")
    assert code == 5
    report = json.loads(out)
    alice, bob = report["principals"]
    assert alice == {
        "account": "123",
        "kind": "user",
        "name": "alice",
        "events": 2,
        "reason": "intact",
        "problem": "",
        "tampering": "",
        "event": None,
    }
    assert bob["reason"] == "record tampered"
    assert (bob["event"], bob["tampering"]) == (2, "missing")
    assert list(report["environment"]) == ENVIRONMENT
    assert report["hidden"] == []
    assert json.loads(err)["exit_code"] == 5


def test_a_row_that_belongs_to_no_principal_is_reported_and_other_accounts_are_verified(
    audit: Audit,
) -> None:
    audit.edit("UPDATE principal SET name = 'b ' WHERE name = 'bob'")
    code, lines, err = audit.report("verify", "123", "1%2F2")
    assert code == 5
    assert lines[:2] == ["123/user/alice  intact: 2 events", "1%2F2/root/  intact: 2 events"]
    assert lines[2].startswith("HIDDEN  account 123, ")
    (hidden,) = json.loads(audit.run("verify", "123", "--json")[1])["hidden"]
    assert lines[2:] == [f"HIDDEN  {hidden}"]
    assert err == f"vmfa: {hidden}\n"
    assert audit.run("checkpoint", "123")[0] == 5
    code, out, _ = audit.run("export", "123")
    assert (code, len(out.splitlines())) == (5, 2)


def test_an_account_without_records(audit: Audit) -> None:
    assert audit.report("verify", "999")[:2] == (
        0,
        ["no principal of these accounts has a record"],
    )


def test_a_checkpoint_kept_elsewhere_shows_a_deleted_row(audit: Audit) -> None:
    path = audit.keep_checkpoint("123", "1%2F2")
    assert audit.report("compare", path)[0] == 0
    audit.edit("DELETE FROM principal WHERE name = 'alice'")
    audit.edit("DELETE FROM event WHERE name = 'alice'")
    assert audit.run("verify", "123")[0] == 0
    code, lines, _ = audit.report("compare", path)
    assert code == 5
    assert lines[0].startswith("123/user/alice  missing: ")


def test_a_checkpoint_names_its_environment_and_leaves_out_what_is_broken(audit: Audit) -> None:
    audit.edit("UPDATE principal SET revision = 9 WHERE name = 'alice'")
    code, out, _ = audit.run("checkpoint", "123")
    document = json.loads(out)
    assert code == 5
    assert [row["name"] for row in document["checkpoints"]] == ["bob"]
    assert list(document["environment"]) == ENVIRONMENT
    assert out == audit.run("checkpoint", "123", "--json")[1]


def test_export_is_one_json_object_a_line(audit: Audit) -> None:
    code, out, _ = audit.run("export", "123")
    assert code == 0
    events = [json.loads(line) for line in out.splitlines()]
    assert [(event["name"], event["number"]) for event in events] == [
        ("alice", 1),
        ("alice", 2),
        ("bob", 1),
        ("bob", 2),
    ]
    assert json.loads(audit.run("export", "123", "--json")[1]) == {"lines": out.splitlines()}


def test_export_in_ocsf_names_the_service(audit: Audit) -> None:
    code, out, _ = audit.run("export", "123", "--format", "ocsf", "--service", "Example")
    assert code == 0
    with SQLiteStore(audit.db) as store:
        results = verify_history(
            store, "123", operations=audit.registry(store).operations, by=Actor.support("x"),
            clock=audit.clock,
        )
        events = [event for result in results for event in result.events]
    assert out.splitlines() == [ocsf_line(event, service="Example") for event in events]
    assert audit.run("export", "123", "--format", "jsonl")[1] == audit.run("export", "123")[1]
    assert audit.run("export", "123", "--format", "xml")[0] == 2


def test_a_report_is_written_to_a_new_file_and_never_over_another(audit: Audit) -> None:
    path = audit.folder / "report.txt"
    code, out, _ = audit.run("verify", "123", "--output", str(path))
    assert (code, out) == (0, "")
    assert path.read_text() == audit.run("verify", "123")[1]
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("signed")
    code, out, err = audit.run("verify", "123", "--output", str(path))
    assert (code, out) == (5, "")
    assert err == "vmfa: the output file exists already and was not changed\n"
    assert path.read_text() == "signed"
    code, _, err = audit.run("export", "123", "--output", str(audit.folder / "no" / "x.jsonl"))
    assert (code, "cannot be created" in err) == (5, True)


def test_a_failed_report_is_written_as_well(audit: Audit) -> None:
    audit.edit("UPDATE principal SET revision = 9 WHERE name = 'alice'")
    path = audit.folder / "report.json"
    code, out, err = audit.run("verify", "123", "--json", "--output", str(path))
    assert (code, out) == (5, "")
    assert "alice" in err
    assert [row["reason"] for row in json.loads(path.read_text())["principals"]] == [
        "record tampered", "intact",
    ]  # fmt: skip


def test_export_goes_on_after_a_checkpoint_and_prints_nothing_if_nothing_is_new(
    audit: Audit,
) -> None:
    path = audit.keep_checkpoint("123")
    assert audit.run("export", "123", "--since", path)[:2] == (0, "")
    assert audit.run("export", "123", "--since", path, "--json")[:2] == (0, '{"lines": []}\n')
    with SQLiteStore(audit.db) as store:
        audit.registry(store).deactivate(BOB, by=Actor.trusted_service("tests"))
    code, out, _ = audit.run("export", "123", "1%2F2", "--since", path)
    assert code == 0
    assert [(event["name"], event["number"]) for event in map(json.loads, out.splitlines())] == [
        ("bob", 3),
        ("", 1),
        ("", 2),
    ]


def test_export_of_another_history_under_the_same_name_starts_again_and_fails(
    audit: Audit,
) -> None:
    path = audit.keep_checkpoint("123")
    with SQLiteStore(audit.db) as store:
        registry = audit.registry(store)
        registry.forget(ALICE, by=Actor.trusted_service("tests"))
        audit.enroll(registry, ALICE)
    code, out, err = audit.run("export", "123", "--since", path)
    assert code == 5
    assert [json.loads(line)["number"] for line in out.splitlines()] == [1, 2]
    assert err.startswith("vmfa: 123/user/alice: ")


def test_a_file_that_is_not_a_checkpoint_is_refused(audit: Audit) -> None:
    other = audit.folder / "other.json"
    for text in ("{}", "not JSON", "\ufeff[]"):
        other.write_text(text)
        assert audit.run("compare", str(other))[0] == 2
        assert audit.run("export", "123", "--since", str(other))[0] == 2
    assert audit.run("compare", str(audit.folder / "none"))[0] == 2


def test_a_failure_names_one_history_and_counts_the_others(audit: Audit) -> None:
    audit.edit("UPDATE principal SET revision = 9")
    for accounts, others in ((("123",), "1"), (("123", "1%2F2"), "2")):
        _, _, err = audit.run("verify", *accounts)
        assert err.startswith("vmfa: 123/user/alice: ")
        assert err.endswith(f"; and {others} more\n")


def test_the_histories_are_read_for_a_support_case(audit: Audit) -> None:
    assert audit.run("verify", "123", "--case", "case 7")[0] == 0
    assert audit.run("verify", "123", "--case", "")[0] == 2


def test_an_account_is_required(audit: Audit) -> None:
    assert audit.run("verify")[0] == 2
    assert audit.run("verify", "")[0] == 2


# With the key of an auditor


@pytest.fixture
def audit_key(audit: Audit) -> str:
    path = audit.folder / "audit.key"
    arguments = ["keys", "audit-key", str(path), "--key-file", str(audit.key)]
    assert main(arguments, clock=audit.clock) == 0
    audit._capsys.readouterr()
    audit.key.unlink()  # an auditor has no master key
    return str(path)


def test_an_auditor_without_a_master_key_runs_every_command(audit: Audit, audit_key: str) -> None:
    option = ("--audit-key", audit_key)
    code, lines, _ = audit.report("verify", "123", "1%2F2", *option)
    assert code == 0
    assert lines == [
        "123/user/alice  intact: 2 events",
        "123/user/bob  intact: 2 events",
        "1%2F2/root/  intact: 2 events",
    ]
    code, out, _ = audit.run("checkpoint", "123", *option)
    path = audit.folder / "checkpoint.json"
    path.write_text(out)
    assert code == 0
    assert audit.run("export", "123", *option)[1].count("\n") == 4
    assert audit.run("export", "123", "--since", str(path), *option)[:2] == (0, "")
    assert audit.report("compare", str(path), *option)[0] == 0
    audit.edit("DELETE FROM principal WHERE name = 'alice'")
    audit.edit("DELETE FROM event WHERE name = 'alice'")
    code, lines, _ = audit.report("compare", str(path), *option)
    assert code == 5
    assert lines[0].startswith("123/user/alice  missing: ")


@pytest.mark.parametrize("table", ["principal", "event"])
def test_an_auditor_notices_a_changed_tag(audit: Audit, audit_key: str, table: str) -> None:
    audit.edit(f"UPDATE {table} SET audit_tag = audit_tag || '0' WHERE name = 'alice'")
    code, lines, _ = audit.report("verify", "123", "--audit-key", audit_key)
    assert code == 5
    assert re.match(r"123/user/alice  record tampered: the tag for auditors of .*wrong", lines[0])
    place = {"principal": "record: record changed", "event": "event 1: audit tag"}[table]
    assert lines[0].endswith(f" [{place}]")
    assert lines[1] == "123/user/bob  intact: 2 events"


def test_a_file_that_is_not_an_audit_key_is_refused(audit: Audit, audit_key: str) -> None:
    path = Path(audit_key)
    path.write_bytes(b"\xff" * 32)
    code, _, err = audit.run("verify", "123", "--audit-key", audit_key)
    assert (code, "not an audit key" in err) == (2, True)
    path.chmod(0o644)
    code, _, err = audit.run("verify", "123", "--audit-key", audit_key)
    assert code == 5
    assert err == (
        f"vmfa: the audit key file {audit_key!r} can be accessed by other users: "
        "restrict it with chmod 600\n"
    )
    code, _, err = audit.run("verify", "123", "--audit-key", str(audit.folder / "none"))
    assert code == 5
    assert "create one with 'vmfa keys audit-key FILE'" in err


# Across rotations


def test_every_command_takes_the_keys_of_a_rotation(audit: Audit) -> None:
    """RULE-KEY-ROLES, RULE-AUDIT-KEY: records and events under two master keys, before the reseal,
    after it, and with an audit key.
    """
    new, old = audit.folder / "new.key", audit.key
    new.write_bytes(bytes(range(1, 33)))
    new.chmod(0o600)
    checkpoint = audit.keep_checkpoint("123")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--db", str(audit.db)], clock=audit.clock)
        return code, *audit._capsys.readouterr()

    rotating = ("--key-file", str(new), "--key-file", str(old))
    rotated = ("--key-file", str(new), "--derive-only-key-file", str(old))
    with SQLiteStore(audit.db) as store:  # a change under the new key
        keys = DerivedKeys(new.read_bytes(), old.read_bytes())
        registry = DeviceRegistry(store, keys=keys, issuer="Example", clock=audit.clock)
        registry.deactivate(ALICE, by=Actor.trusted_service("tests"))
    assert run("audit", "verify", "123", "--key-file", str(new))[0] == 5
    assert run("audit", "verify", "123", "--key-file", str(old))[0] == 5

    def check(*keys: str) -> None:
        code, out, _ = run("audit", "verify", "123", *keys)
        assert (code, out.count("intact: ")) == (0, 2)
        code, out, _ = run("audit", "compare", checkpoint, *keys)
        assert (code, out.count("intact: ")) == (0, 2)
        assert run("audit", "export", "123", "--since", checkpoint, *keys)[1].count("\n") == 1

    check(*rotating)
    audit_key = str(audit.folder / "audit.key")
    assert main(["keys", "audit-key", audit_key, *rotating]) == 0
    audit._capsys.readouterr()
    check("--audit-key", audit_key)
    assert run("audit", "verify", "123", *rotated)[0] == 5  # Bob's record is under the old key
    assert run("keys", "reseal", "123", *rotating)[0] == 0
    check(*rotated)
    later_audit_key = str(audit.folder / "later.key")
    assert main(["keys", "audit-key", later_audit_key, *rotated]) == 0
    audit._capsys.readouterr()
    check("--audit-key", later_audit_key)
    check("--audit-key", audit_key)
    assert main(["keys", "audit-key", str(audit.folder / "x"), "--key-file", str(new)]) == 0
    audit._capsys.readouterr()
    code, out, _ = run("audit", "verify", "123", "--audit-key", str(audit.folder / "x"))
    assert (code, "does not cover the master key" in out) == (5, True)  # the old events
