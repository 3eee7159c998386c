"""``vmfa trail``: every pass over real files, with the exit codes of the command line."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from support import MASTER, HandClock, enroll
from vmfa import Actor, DerivedKeys, DeviceRegistry, PrincipalId, SQLiteStore
from vmfa.cli.main import main

ALICE, BOB, ROOT = PrincipalId.user("123", "alice"), PrincipalId.user("123", "bob"), PrincipalId.root("1/2")


class CommandContext:
    """The command line over Alice and Bob of one account and the root of another."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.db, self.key = folder, folder / "mfa.db", folder / "master.key"
        self.key.write_bytes(MASTER)
        self.key.chmod(0o600)
        self.clock, self._capsys = HandClock(), capsys
        with SQLiteStore(self.db) as store:
            registry = DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=self.clock)
            for who in (ALICE, BOB, ROOT):
                enroll(registry, self.clock, who)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        code = main(["trail", *arguments, "--db", str(self.db), "--key-file", str(self.key)], clock=self.clock)
        return code, *self._capsys.readouterr()

    def keep_heads(self, *accounts: str) -> str:
        code, out, _ = self.run("heads", *accounts)
        assert code == 0
        kept = self.folder / "heads.json"
        kept.write_text(out)
        return str(kept)

    def registry(self, store: SQLiteStore) -> DeviceRegistry:
        return DeviceRegistry(store, keys=DerivedKeys(MASTER), issuer="Example", clock=self.clock)

    def edit(self, statement: str) -> None:
        with closing(sqlite3.connect(self.db)) as database, database:
            assert database.execute(statement).rowcount > 0


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> CommandContext:
    return CommandContext(tmp_path, capsys)


def test_verify_names_every_principal_of_the_accounts(desk: CommandContext) -> None:
    code, out, err = desk.run("verify", "123", "1%2F2")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "123/user/alice  intact: 2 events", "123/user/bob  intact: 2 events", "1%2F2/root/  intact: 2 events",
    ]


def test_verify_goes_on_behind_broken_histories_and_fails(desk: CommandContext) -> None:
    desk.edit("UPDATE event SET tag = tag || '0' WHERE number = 1 AND name != ''")
    code, out, err = desk.run("verify", "123", "1%2F2")
    assert code == 5
    assert "123/user/alice  record tampered: the history of this principal was changed at event 1" in out
    assert "1%2F2/root/  intact: 2 events" in out
    assert err == "vmfa: 123/user/alice: the history of this principal was changed at event 1; and 1 more\n"


def test_verify_in_json(desk: CommandContext) -> None:
    desk.edit("DELETE FROM event WHERE name = 'bob' AND number = 2")
    code, out, err = desk.run("verify", "123", "--json")
    assert code == 5
    alice, bob = json.loads(out)["principals"]
    assert alice == {
        "account": "123", "kind": "user", "name": "alice", "events": 2, "reason": "intact", "problem": ""
    }
    assert bob["reason"] == "record tampered"
    assert json.loads(err)["reason"] == "trail broken"


def test_a_row_that_names_nobody_is_told_and_other_accounts_are_still_examined(desk: CommandContext) -> None:
    desk.edit("UPDATE principal SET name = 'b ' WHERE name = 'bob'")
    code, out, err = desk.run("verify", "123", "1%2F2")
    hidden = "account 123, behind 123/user/alice: a stored row names no principal; what follows it was not examined"
    assert code == 5
    assert out.splitlines() == [
        "123/user/alice  intact: 2 events", "1%2F2/root/  intact: 2 events", f"HIDDEN  {hidden}",
    ]
    assert err == f"vmfa: {hidden}\n"
    assert json.loads(desk.run("verify", "123", "--json")[1])["hidden"] == [hidden]
    assert desk.run("heads", "123")[0] == 5
    code, out, _ = desk.run("export", "123")
    assert (code, len(out.splitlines())) == (5, 2)


def test_an_account_without_records_is_said_to_be_one(desk: CommandContext) -> None:
    assert desk.run("verify", "999")[:2] == (0, "no principal of these accounts is known\n")


def test_heads_that_were_kept_elsewhere_show_a_deleted_row(desk: CommandContext) -> None:
    kept = desk.keep_heads("123", "1%2F2")
    assert desk.run("compare", kept)[0] == 0
    desk.edit("DELETE FROM principal WHERE name = 'alice'")
    assert desk.run("verify", "123")[0] == 0
    code, out, _ = desk.run("compare", kept)
    assert code == 5
    assert "123/user/alice  missing: there is no record any more" in out


def test_heads_leave_out_what_is_broken_and_fail(desk: CommandContext) -> None:
    desk.edit("UPDATE principal SET revision = 9 WHERE name = 'alice'")
    code, out, _ = desk.run("heads", "123")
    assert code == 5
    assert [row["name"] for row in json.loads(out)["heads"]] == ["bob"]


def test_export_is_one_json_object_a_line(desk: CommandContext) -> None:
    code, out, _ = desk.run("export", "123")
    assert code == 0
    told = [json.loads(each) for each in out.splitlines()]
    assert [(each["name"], each["number"], each["what"]) for each in told] == [
        ("alice", 1, "enrollment opened"), ("alice", 2, "device assigned"),
        ("bob", 1, "enrollment opened"), ("bob", 2, "device assigned"),
    ]


def test_export_goes_on_behind_the_heads_and_prints_nothing_where_nothing_is_new(desk: CommandContext) -> None:
    kept = desk.keep_heads("123")
    assert desk.run("export", "123", "--since", kept)[:2] == (0, "")
    assert desk.run("export", "123", "--since", kept, "--json")[:2] == (0, '{"lines": []}\n')
    with SQLiteStore(desk.db) as store:
        desk.registry(store).deactivate(BOB, by=Actor.trusted_service("tests"))
    code, out, _ = desk.run("export", "123", "1%2F2", "--since", kept)
    assert code == 0
    assert [(each["name"], each["number"]) for each in map(json.loads, out.splitlines())] == [
        ("bob", 3), ("", 1), ("", 2),
    ]


def test_export_of_another_life_of_the_name_begins_anew_and_says_so(desk: CommandContext) -> None:
    kept = desk.keep_heads("123")
    with SQLiteStore(desk.db) as store:
        registry = desk.registry(store)
        registry.forget(ALICE, by=Actor.trusted_service("tests"))
        enroll(registry, desk.clock, ALICE)
    code, out, err = desk.run("export", "123", "--since", kept)
    assert code == 5
    assert [json.loads(each)["number"] for each in out.splitlines()] == [1, 2]
    assert "event 2 is not the one that was exported" in err


def test_a_file_that_holds_no_heads_is_refused(desk: CommandContext) -> None:
    other = desk.folder / "other.json"
    other.write_text("{}")
    assert desk.run("compare", str(other))[0] == 2
    assert desk.run("export", "123", "--since", str(other))[0] == 2


def test_export_in_json_is_the_same_lines(desk: CommandContext) -> None:
    _, out, _ = desk.run("export", "123")
    assert json.loads(desk.run("export", "123", "--json")[1]) == {"lines": out.splitlines()}


def test_a_pass_that_fails_names_one_and_counts_the_others(desk: CommandContext) -> None:
    desk.edit("UPDATE principal SET revision = 9")
    for accounts, others in ((("123",), "1"), (("123", "1%2F2"), "2")):
        _, _, err = desk.run("verify", *accounts)
        assert err.startswith("vmfa: 123/user/alice: ")
        assert err.endswith(f"; and {others} more\n")


def test_a_pass_names_its_accounts(desk: CommandContext) -> None:
    assert desk.run("verify")[0] == 2


def test_a_pass_must_be_named(desk: CommandContext) -> None:
    assert desk.run()[0] == 2
