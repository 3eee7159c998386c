"""``vmfa import``: the report, the options, the dry run."""

from __future__ import annotations

import io
import json
import os
import sys
from base64 import b32encode, b64encode
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from pskc import PSKC

from batches import peak_memory
from vmfa import (
    Actor,
    DerivedKeys,
    DeviceRegistry,
    Parameters,
    PrincipalId,
    SQLiteStore,
    StoreUnavailable,
)
from vmfa.cli.importing import FORMATS
from vmfa.cli.main import main
from vmfa.keysources.sealed import SealedKeys
from vmfa.testing import AuthenticatorApp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Outcome, Terminal

ACCOUNT = "123456789012"
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
OTHER = "AAAQEAYEAUDAOCAJBIFQYDIOB4AAAAAA"
URI = f"otpauth://totp/alice?secret={SECRET}"
LIST = f"u-1 {URI}\nu-2 otpauth://hotp/bob?secret={OTHER}&counter=1\n"


def user(name: str) -> PrincipalId:
    return PrincipalId.user(ACCOUNT, name)


@pytest.fixture
def run(terminal: Terminal) -> Callable[..., Outcome]:
    """Run ``vmfa import`` on a file with this text."""

    def run(kind: str, text: str, *arguments: str) -> Outcome:
        (terminal.folder / "source").write_text(text)
        return terminal.run(
            "import", kind, str(terminal.folder / "source"), "--account", ACCOUNT, *arguments
        )

    return run


@pytest.fixture
def registry(terminal: Terminal) -> Iterator[DeviceRegistry]:
    master = terminal.key_file.read_bytes()
    with SQLiteStore(terminal.db) as store:
        yield DeviceRegistry(
            store,
            keys=DerivedKeys(master),
            imported_keys=SealedKeys(master),
            issuer="x",
            clock=terminal.clock,
        )


def device(registry: DeviceRegistry, name: str):
    return registry.device(user(name), by=Actor.trusted_service("test"))


def test_what_is_not_adopted_has_a_line_and_the_rest_is_adopted(
    run, registry, terminal: Terminal
) -> None:
    outcome = run("otpauth", LIST)
    refused, total = outcome.out.splitlines()
    assert refused.startswith("refused: line 2 u-2: ")
    assert total == "1 adopted, 0 already adopted, 0 conflict, 1 refused"
    assert (outcome.code, outcome.err) == (6, "vmfa: 1 of 2 entries were not imported\n")
    assert SECRET not in outcome.out + outcome.err
    terminal.clock.advance(60)
    code = AuthenticatorApp(terminal.clock).scan(URI).code()
    assert terminal.run("verify", f"{ACCOUNT}/u-1", code).code == 0
    assert (
        "device adopted  by trusted service vmfa import"
        in terminal.run("history", f"{ACCOUNT}/u-1").out
    )


def test_the_report_in_json(run, terminal: Terminal) -> None:
    outcome = run("otpauth", LIST, "--json")
    assert outcome.problem["reason"] == "partly imported"
    assert outcome.problem["exit_code"] == outcome.code == 6
    data = outcome.data
    assert data["entries"][1].pop("reason")
    assert data == {
        "dry_run": False,
        "adopted": 1,
        "already adopted": 0,
        "conflict": 0,
        "refused": 1,
        "entries": [
            {
                "where": "line 1",
                "owner": "u-1",
                "outcome": "adopted",
                "principal": {"account": ACCOUNT, "kind": "user", "name": "u-1"},
                "last_step": terminal.clock() // 30 + 1,
                "drift": 0,
                "failures": 0,
                "disabled": False,
                "notes": [],
            },
            {"where": "line 2", "owner": "u-2", "outcome": "refused", "notes": []},
        ],
    }


def test_a_run_can_be_repeated(run) -> None:
    run("otpauth", LIST)
    outcome = run("otpauth", LIST)
    assert outcome.code == 6
    assert outcome.out.splitlines()[-1] == "0 adopted, 1 already adopted, 0 conflict, 1 refused"


def test_the_exit_code_says_whether_all_some_or_no_entries_were_imported(run) -> None:
    first, second = LIST.splitlines()
    assert run("otpauth", first).code == 0
    assert run("otpauth", LIST).code == 6
    outcome = run("otpauth", second, "--json")
    assert (outcome.code, outcome.problem["reason"]) == (2, "nothing imported")
    assert outcome.problem["message"] == "none of the 1 entries was imported"
    assert outcome.data["refused"] == 1


def test_a_source_without_entries_is_refused(run) -> None:
    outcome = run("otpauth", "# nothing\n")
    assert outcome.code == 2
    assert outcome.out == "0 adopted, 0 already adopted, 0 conflict, 0 refused\n"
    assert outcome.err == "vmfa: the source has no entries: check that it is the right file\n"
    assert run("pyotp", "[]", "--json").data["entries"] == []


def test_a_dry_run_creates_no_database_and_no_key_file(run, terminal: Terminal) -> None:
    outcome = run("otpauth", LIST, "--dry-run")
    refused, total = outcome.out.splitlines()
    assert refused.startswith("would be refused: line 2 u-2: ")
    assert total == "dry run: 1 adopted, 0 already adopted, 0 conflict, 1 refused"
    assert outcome.code == 6
    assert not terminal.db.exists()
    assert run("otpauth", LIST, "--dry-run", "--json").data["dry_run"] is True
    terminal.key_file.unlink()
    assert run("otpauth", LIST, "--dry-run", "--create-key-file").code == 2
    assert not terminal.key_file.exists()


def test_a_dry_run_over_a_database_changes_nothing_in_it(run, registry) -> None:
    run("otpauth", LIST)
    before = device(registry, "u-1")
    more = LIST.replace("hotp", "totp")
    data = run("otpauth", more, "--dry-run", "--json").data
    assert (data["adopted"], data["already adopted"]) == (1, 1)
    assert device(registry, "u-1") == before
    assert not registry.requires_code(user("u-2"))


def test_an_import_creates_the_key_file_on_request(run, terminal: Terminal) -> None:
    terminal.key_file.unlink()
    assert run("otpauth", URI).code == 5
    assert run("otpauth", f"u-1 {URI}", "--create-key-file").code == 0
    assert terminal.key_file.stat().st_size == 32


@pytest.mark.parametrize(
    ("kind", "text", "arguments"),
    [
        (
            "django-otp",
            json.dumps(
                [
                    {
                        "model": "otp_totp.totpdevice",
                        "pk": 1,
                        "fields": {
                            "user": 1,
                            "confirmed": True,
                            "key": "00" * 20,
                            "step": 30,
                            "t0": 0,
                            "digits": 6,
                            "drift": 0,
                            "last_t": 5,
                        },
                    }
                ]
            ),
            (),
        ),
        ("google-authenticator", f'{SECRET}\n" TOTP_AUTH\n', ("--owner", "1")),
        ("otpauth", f"1 otpauth://totp/alice?secret={SECRET}", ()),
        (
            "otpauth-migration",
            "otpauth-migration://offline?data=ChkKFDEyMzQ1Njc4OTAxMjM0NTY3ODkwEgEx",
            (),
        ),
        (
            "passlib",
            json.dumps([{"owner": "1", "totp": {"v": 1, "type": "totp", "key": SECRET}}]),
            (),
        ),
        ("pyotp", json.dumps([{"owner": "1", "secret": SECRET}]), ()),
    ],
)
def test_every_format(run, kind: str, text: str, arguments: tuple[str, ...]) -> None:
    data = run(kind, text, *arguments, "--json").data
    assert data["adopted"] == 1
    assert data["entries"][0]["principal"]["name"] == "1"


def test_a_map_of_names(run, terminal: Terminal) -> None:
    (terminal.folder / "map").write_text('{"u-1": "4711"}')
    arguments = (LIST.replace("hotp", "totp"), "--map", str(terminal.folder / "map"))
    first, second = run("otpauth", *arguments, "--json").data["entries"]
    assert (first["outcome"], first["principal"]["name"]) == ("adopted", "4711")
    assert (second["outcome"], "principal" in second) == ("refused", False)
    assert run("otpauth", *arguments).out.splitlines()[0].startswith("refused: line 2 u-2: ")


@pytest.mark.parametrize("text", ["[]", '{"a": "b", "c": 1}', '{"a": "b", "a": "c"}', "{"])
def test_a_file_that_is_not_a_map_is_refused(run, terminal: Terminal, text: str) -> None:
    (terminal.folder / "map").write_text(text)
    outcome = run("otpauth", LIST, "--map", str(terminal.folder / "map"), "--json")
    assert (outcome.code, outcome.problem["reason"]) == (2, "unreadable source")
    assert not terminal.db.exists()


def test_root_is_adopted_only_by_name(run, registry) -> None:
    data = run("otpauth", LIST, "--root-owner", "u-1", "--json").data
    assert data["entries"][0]["principal"] == {"account": ACCOUNT, "kind": "root", "name": ""}
    assert registry.requires_code(PrincipalId.root(ACCOUNT))


def test_other_kinds_of_device_are_adopted_on_request(run, registry) -> None:
    text = f"u-1 {URI}&algorithm=SHA256&digits=8&period=60"
    assert run("otpauth", text).out.startswith("refused: ")
    assert run("otpauth", text, "--offer", "sha512,8,30", "--offer", "SHA256,8,60").code == 0
    assert device(registry, "u-1").parameters == Parameters(
        algorithm="sha256", digits=8, period=60
    )


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "sha1",
        "sha1,6",
        "sha1,6,30,0,0",
        "sha1,6,-1",
        "a,b,c",
        "sha1,\u0666,30",
        f"sha1,6,{'9' * 10}",
        f"sha1,6,{'9' * 5000}",
    ],
)
def test_an_offer_has_three_or_four_parts(run, offer: str) -> None:
    outcome = run("otpauth", LIST, "--offer", offer)
    assert outcome.code == 2
    assert outcome.err == (
        "vmfa: --offer: write ALGORITHM,DIGITS,PERIOD[,T0], such as sha256,8,30\n"
    )


def test_a_device_with_a_t0_is_adopted_on_request(run, registry) -> None:
    fields = {
        "user": 1,
        "confirmed": True,
        "key": "00" * 20,
        "step": 60,
        "t0": 30,
        "digits": 6,
        "drift": 0,
        "last_t": 5,
    }
    text = json.dumps([{"model": "otp_totp.totpdevice", "pk": 1, "fields": fields}])
    assert run("django-otp", text).code == 2
    assert run("django-otp", text, "--offer", "sha1,6,60,30").code == 0
    assert device(registry, "1").parameters == Parameters(period=60, t0=30)


@pytest.mark.parametrize("offer", ["md5,6,30", "sha1,9,30", "sha1,6,0", "sha1,6,999999999"])
def test_an_offer_is_one_that_a_policy_can_have(run, offer: str) -> None:
    assert run("otpauth", LIST, "--offer", offer).code == 2


def test_another_key_of_an_owner_is_a_conflict_and_the_exit_code_is_2(run) -> None:
    run("otpauth", f"u-1 {URI}")
    outcome = run("otpauth", f"u-1 otpauth://totp/alice?secret={OTHER}")
    assert outcome.code == 2
    assert outcome.out.startswith("conflict: line 1 u-1 -> 123456789012/user/u-1: ")
    assert outcome.err == "vmfa: none of the 1 entries was imported\n"
    assert run("otpauth", f"u-1 otpauth://totp/alice?secret={OTHER}", "--dry-run").code == 2


def test_an_incomplete_export_is_adopted_on_request(run) -> None:
    account = b"\x0a\x14" + bytes(range(20)) + b"\x12\x03u-1"
    payload = b"\x0a" + bytes([len(account)]) + account + b"\x10\x01\x18\x02\x20\x00"
    text = f"otpauth-migration://offline?data={b64encode(payload).decode()}"
    refused = run("otpauth-migration", text)
    assert (refused.code, refused.out.split(":")[0]) == (2, "refused")
    assert run("otpauth-migration", text, "--allow-incomplete").code == 0


@pytest.mark.parametrize("options", [(), ("--parameters", "sha1,8,60")])
def test_the_kind_of_device_of_django_allauth_is_an_option(run, registry, options) -> None:
    fields = {"user": "u-1", "type": "totp", "data": {"secret": SECRET}}
    text = json.dumps([{"model": "mfa.authenticator", "pk": 1, "fields": fields}])
    assert run("django-allauth", text, *options).code == 0
    expected = Parameters(digits=8, period=60) if options else Parameters()
    assert device(registry, "u-1").parameters == expected


def test_the_kind_of_device_has_three_parts(run) -> None:
    outcome = run("django-allauth", "[]", "--parameters", "8,60")
    assert outcome.err.startswith("vmfa: --parameters: write ALGORITHM,DIGITS,PERIOD")


def test_short_keys_are_adopted_on_request(run) -> None:
    text = "u-1 otpauth://totp/alice?secret=JBSWY3DPEHPK3PXP"
    assert run("otpauth", text).code == 2
    assert run("otpauth", text, "--unsafe-short-keys").code == 0


def test_notes_are_printed_one_after_the_other(run) -> None:
    line = run(
        "google-authenticator", f'{SECRET}\n" TOTP_AUTH\n12345678\n', "--owner", "u-1"
    ).out.splitlines()[0]
    assert line.startswith("adopted: file u-1 -> 123456789012/user/u-1: ")
    fields = {
        "user": 1,
        "confirmed": True,
        "key": "00" * 20,
        "step": 30,
        "t0": 0,
        "digits": 6,
        "drift": 0,
        "last_t": 5,
        "tolerance": 3,
        "throttling_failure_count": 100,
    }
    record = {"model": "otp_totp.totpdevice", "pk": 7, "fields": fields}
    line = run("django-otp", json.dumps([record]), "--dry-run").out.splitlines()[0]
    entry = run("django-otp", json.dumps([record]), "--json").data["entries"][0]
    assert entry["outcome"] == "adopted"
    assert len(entry["notes"]) == 2
    assert line.endswith(f" -> 123456789012/user/1: {'; '.join(entry['notes'])}")


def test_a_source_that_cannot_be_read_creates_no_key_file(run, terminal: Terminal) -> None:
    terminal.key_file.unlink()
    assert run("pyotp", "not JSON", "--create-key-file").code == 2
    assert not terminal.key_file.exists()


def test_a_source_that_does_not_exist(terminal: Terminal) -> None:
    outcome = terminal.run("import", "otpauth", "nowhere.txt", "--account", "1")
    assert outcome.code == 2
    assert outcome.err == "vmfa: the file cannot be read: No such file or directory\n"


@pytest.mark.parametrize("kind", ["django-otp", "passlib", "pyotp"])
@pytest.mark.parametrize("text", [f'[{{"secret": "{SECRET}"', f'{{"secret": "{SECRET}"}}'])
def test_a_source_that_cannot_be_read_is_not_quoted(run, kind: str, text: str) -> None:
    outcome = run(kind, text, "--json")
    assert (outcome.code, outcome.out, outcome.problem["reason"]) == (2, "", "unreadable source")
    assert SECRET not in outcome.err


def test_a_missing_or_unknown_format_lists_the_formats(terminal: Terminal) -> None:
    for arguments in (["import"], ["import", "csv"], ["import", "csv", "file", "--account", "1"]):
        outcome = terminal.run(*arguments)
        assert outcome.code == 2
        assert f"FORMAT is one of {', '.join(FORMATS)}" in outcome.err
        assert "csv" not in outcome.err


# Optional packages


def test_without_the_package_for_imported_keys_an_import_says_how_to_install_it(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    monkeypatch.delitem(sys.modules, "vmfa.keysources.sealed", raising=False)
    outcome = run("otpauth", LIST)
    assert outcome.code == 5
    assert outcome.err == (
        "vmfa: keys from another system need an optional package; install it with: "
        f"{sys.executable} -m pip install 'cryptography>=43'\n"
    )
    assert run("otpauth", LIST, "--json").problem["reason"] == "missing extra"


def test_without_the_package_an_imported_device_says_how_to_install_it_and_others_work(
    run, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("otpauth", f"u-1 {URI}")
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    monkeypatch.delitem(sys.modules, "vmfa.keysources.sealed", raising=False)
    phone = terminal.enroll(f"{ACCOUNT}/u-2")
    assert terminal.run("verify", f"{ACCOUNT}/u-2", phone.code()).code == 0
    outcome = terminal.run("verify", f"{ACCOUNT}/u-1", "123456", "--json")
    assert (outcome.code, outcome.problem["reason"]) == (5, "unknown master key")
    assert "-m pip install 'cryptography>=43'" in outcome.problem["message"]


def test_without_the_package_for_qr_codes_nothing_is_opened(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)
    monkeypatch.delitem(sys.modules, "vmfa.qr", raising=False)
    outcome = terminal.run("enroll", f"{ACCOUNT}/u-1", "--label", "alice", "--qr")
    assert outcome.code == 5
    assert "-m pip install 'segno>=1.6'" in outcome.err
    assert not terminal.db.exists()


@pytest.mark.parametrize("requirements", [None, ["segno>=1.6"], "no metadata"])
def test_if_the_requirements_are_unknown_the_extra_is_named(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, requirements: object
) -> None:
    from importlib.metadata import PackageNotFoundError

    def requires(name: str) -> object:
        if isinstance(requirements, str):
            raise PackageNotFoundError(name)
        return requirements

    monkeypatch.setattr("importlib.metadata.requires", requires)
    monkeypatch.setitem(sys.modules, "segno", None)
    monkeypatch.delitem(sys.modules, "vmfa.qr", raising=False)
    outcome = terminal.run("enroll", f"{ACCOUNT}/u-1", "--label", "alice", "--qr")
    assert "-m pip install 'vmfa[qr]'" in outcome.err


# Encrypted sources


EXPORT = Path(__file__).parents[1] / "importers" / "exports" / "privacyidea-3.14.pi"


def test_an_export_of_privacyidea_needs_its_key(run, terminal: Terminal) -> None:
    terminal.clock.advance(1795567981 - terminal.clock())  # when it was exported
    key_file = terminal.folder / "tokens.key"
    key_file.write_text("raz4i5RXl2hJSFW_zyb61_aE-GolbnUtItGyE5ObYwU=\n")
    (terminal.folder / "map").write_text('{"alice@example": "u-1"}')
    options = ("--map", str(terminal.folder / "map"), "--source-key-file", str(key_file))
    outcome = run("privacyidea", EXPORT.read_text(), *options, "--json")
    assert (outcome.code, outcome.data["adopted"], outcome.data["refused"]) == (6, 1, 4)
    key_file.write_text("x")
    outcome = run("privacyidea", EXPORT.read_text(), *options, "--json")
    assert (outcome.code, outcome.problem["reason"]) == (2, "unreadable source")


def test_the_options_of_pskc(run, terminal: Terminal) -> None:
    container = PSKC()
    container.add_key(
        serial="S-1", algorithm="urn:ietf:params:xml:ns:keyprov:pskc:totp", secret=bytes(20)
    )
    container.encryption.setup_pbkdf2("correct horse")
    file = io.BytesIO()
    container.write(file)
    password = terminal.folder / "password"
    password.write_text("correct horse\n")
    options = ("--source-password-file", str(password))
    assert run("pskc", file.getvalue().decode()).code == 2
    outcome = run("pskc", file.getvalue().decode(), *options)
    assert (outcome.code, outcome.out.splitlines()[0][:8]) == (2, "refused:")
    assert run("pskc", file.getvalue().decode(), *options, "--owner-is-serial").code == 0


# Long sources


def test_a_pipe_is_read_once(terminal: Terminal) -> None:
    arguments = ("import", "otpauth", "-", "--account", ACCOUNT)
    assert terminal.run(*arguments, typed=f"u-1 {URI}").code == 0
    os.mkfifo(terminal.folder / "pipe")
    writer = Thread(target=(terminal.folder / "pipe").write_text, args=(f"u-2 {URI[:-1]}A",))
    writer.start()
    outcome = terminal.run("import", "otpauth", str(terminal.folder / "pipe"), "--account", "1")
    writer.join()
    assert outcome.code == 0


def test_a_folder_is_not_a_source(terminal: Terminal) -> None:
    outcome = terminal.run("import", "otpauth", str(terminal.folder), "--account", "1")
    assert (outcome.code, outcome.err) == (2, "vmfa: the file cannot be read: Is a directory\n")


def test_a_file_that_is_not_utf_8_is_refused_before_anything_is_adopted(
    terminal: Terminal,
) -> None:
    (terminal.folder / "source").write_bytes(f"u-1 {URI}\n".encode() * 1000 + b"\xff\n")
    outcome = terminal.run(
        "import", "otpauth", str(terminal.folder / "source"), "--account", "1", "--json"
    )
    assert (outcome.code, outcome.problem["reason"]) == (2, "unreadable source")
    assert outcome.out == ""
    assert not terminal.db.exists()


@pytest.mark.parametrize("error", [StoreUnavailable("gone"), KeyboardInterrupt()])
@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_on_the_way_leaves_a_report_of_what_was_adopted(
    run, monkeypatch: pytest.MonkeyPatch, error: BaseException, as_json: bool
) -> None:
    commit, commits = SQLiteStore.commit, []

    def commit_once(self: SQLiteStore, before, after, events) -> bool:
        if commits:
            raise error
        commits.append(after)
        return commit(self, before, after, events)

    monkeypatch.setattr(SQLiteStore, "commit", commit_once)
    text = LIST.replace("hotp", "totp")
    outcome = run("otpauth", text, *["--json"] * as_json)
    assert outcome.code == (130 if isinstance(error, KeyboardInterrupt) else 5)
    if as_json:
        assert (outcome.data["adopted"], len(outcome.data["entries"])) == (1, 1)
    else:
        assert outcome.out == "1 adopted, 0 already adopted, 0 conflict, 0 refused\n"


def uris(count: int) -> Iterator[str]:
    """Yield lines with keys of their own. Every hundredth is HOTP."""
    for number in range(count):
        key = b32encode(number.to_bytes(20)).decode()
        yield f"u-{number} otpauth://{'totp' if number % 100 else 'hotp'}/alice?secret={key}\n"


def test_progress_is_shown_on_a_terminal_only(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "".join(uris(250))
    assert "of 250\r" not in run("otpauth", text, "--dry-run").err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    err = run("otpauth", text, "--dry-run").err
    assert err.startswith("\r100 of 250\r\x1b[K\r200 of 250\r\x1b[Kvmfa: ")
    err = run("otpauth", text.replace("hotp", "totp"), "--dry-run").err
    assert err == "\r100 of 250\r200 of 250\r\x1b[K"
    assert "\r" not in run("otpauth", "".join(uris(2)), "--dry-run").err


@pytest.mark.parametrize(("count", "options"), [(20_000, ("--dry-run", "--json")), (5_000, ())])
@pytest.mark.slow
def test_a_long_import_needs_little_memory(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, count: int, options: tuple[str, ...]
) -> None:
    monkeypatch.setattr(
        "vmfa.cli.context.SQLiteStore", partial(SQLiteStore, unsafe_not_durable=True)
    )
    with (terminal.folder / "source").open("w") as file:
        file.writelines(uris(count))
    arguments = ("import", "otpauth", str(terminal.folder / "source"), "--account", ACCOUNT)
    codes: list[int] = []
    with (terminal.folder / "output").open("w") as output, redirect_stdout(output):
        peak = peak_memory(
            lambda: codes.append(main([*arguments, *options], clock=terminal.clock))
        )
    assert codes == [6]
    # The store remembers the last 10,000 commits, and a digest of each key needs 48 bytes.
    assert peak < (6 << 20) + 48 * count
