"""``vmfa import``: the arguments, the report, the dry run."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from threading import Timer

import pytest

from batches import ACCOUNT, refusal_of, user
from leaks import assert_silent
from support import MASTER, Phone
from vmfa import Actor, DeviceRegistry, InvalidValue, Key, NoDevice, Parameters, PrincipalId, SQLiteStore
from vmfa.cli import importing as command
from vmfa.importers.base import UnreadableSource
from vmfa.keysources.sealed import SealedKeys

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
OTHER = "AAAQEAYEAUDAOCAJBIFQYDIOB4AAAAAA"
SERVICE = Actor.trusted_service("test")
SEALED = SealedKeys(MASTER)


@pytest.fixture
def registry(store, keys, clock) -> DeviceRegistry:
    return DeviceRegistry(store, keys=keys, imported_keys=SEALED, issuer="x", clock=clock)


@pytest.fixture
def run(store, keys, clock, tmp_path):
    """The command with these arguments; text that is given is put into a file first."""

    def run(kind: str, text: str | bytes, *arguments: str, into=store):
        file = tmp_path / "source"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        parser = argparse.ArgumentParser(exit_on_error=False)
        command.add_arguments(parser)
        args = parser.parse_args([kind, str(file), "--account", ACCOUNT, *arguments])
        return command.run(args, store=into, keys=keys, imported_keys=SEALED, clock=clock)

    return run


LIST = f"u-1 otpauth://totp/alice?secret={SECRET}\nu-2 otpauth://hotp/bob?secret={OTHER}&counter=1\n"


def test_the_report(run, registry, clock):
    report = run("otpauth", LIST)
    (event,) = registry.history(user("u-1"), by=SERVICE)
    assert event.actor == "trusted service vmfa import"
    assert report.lines == [
        "adopted: line 1 u-1 -> 123456789012/user/u-1",
        "refused: line 2 u-2: HOTP: only time-based devices are assigned",
        "1 adopted, 0 already adopted, 1 refused",
    ]
    assert (str(report.failure), report.failure.reason) == ("1 of 2 entries refused", "entries refused")
    assert report.facts == {
        "dry_run": False, "adopted": 1, "already adopted": 0, "refused": 1,
        "entries": [
            {"where": "line 1", "owner": "u-1", "outcome": "adopted",
             "principal": {"account": ACCOUNT, "kind": "user", "name": "u-1"},
             "last_step": clock() // 30 + 1, "drift": 0, "failures": 0, "disabled": False, "notes": []},
            {"where": "line 2", "owner": "u-2", "outcome": "refused",
             "reason": "HOTP: only time-based devices are assigned", "notes": []},
        ],
    }
    json.dumps(report.facts)
    clock.advance(60)
    assert registry.verify(user("u-1"), Phone(Key.from_base32(SECRET), clock).code())


def test_a_repeated_run(run):
    run("otpauth", LIST)
    assert run("otpauth", LIST).lines[0] == "already adopted: line 1 u-1 -> 123456789012/user/u-1"


def test_all_adopted_is_no_failure(run):
    assert run("otpauth", LIST.splitlines()[0]).failure is None
    assert run("otpauth", "").lines == ["0 adopted, 0 already adopted, 0 refused"]


def test_a_dry_run_changes_nothing(run, registry, store):
    report = run("otpauth", LIST, "--dry-run")
    assert report.lines == [
        "would be adopted: line 1 u-1 -> 123456789012/user/u-1",
        "would be refused: line 2 u-2: HOTP: only time-based devices are assigned",
        "dry run: 1 adopted, 0 already adopted, 1 refused",
    ]
    assert report.facts["dry_run"] is True
    with pytest.raises(NoDevice):
        registry.device(user("u-1"), by=SERVICE)
    assert not store.principals(ACCOUNT)
    assert run("otpauth", LIST).facts["adopted"] == 1


def test_a_dry_run_over_a_file(run, tmp_path):
    with SQLiteStore(tmp_path / "mfa.db") as file:
        run("otpauth", LIST, into=file)
        held = file.load(user("u-1"))
        report = run("otpauth", LIST, "--dry-run", into=file)
        assert report.facts["already adopted"] == 1
        assert report.lines[0] == "already adopted: line 1 u-1 -> 123456789012/user/u-1"
        assert file.load(user("u-1")) == held


@pytest.mark.parametrize(("kind", "text", "arguments"), [
    ("django-otp", json.dumps([{"model": "otp_totp.totpdevice", "pk": 1, "fields": {
        "user": 1, "confirmed": True, "key": "00" * 20, "step": 30, "t0": 0, "digits": 6, "drift": 0, "last_t": 5,
    }}]), ()),
    ("google-authenticator", f'{SECRET}\n" TOTP_AUTH\n', ("--owner", "1")),
    ("otpauth", f"1 otpauth://totp/alice?secret={SECRET}", ()),
    ("otpauth-migration", "otpauth-migration://offline?data=ChkKFDEyMzQ1Njc4OTAxMjM0NTY3ODkwEgEx", ()),
    ("passlib", json.dumps([{"owner": "1", "totp": {"v": 1, "type": "totp", "key": SECRET}}]), ()),
    ("pyotp", json.dumps([{"owner": "1", "secret": SECRET}]), ()),
])
def test_every_format(run, kind, text, arguments):
    report = run(kind, text, *arguments)
    assert report.facts["adopted"] == 1
    assert report.facts["entries"][0]["principal"]["name"] == "1"


def test_the_formats_are_these():
    assert len(command.FORMATS) == 6


def test_a_map_of_names(run, tmp_path):
    (tmp_path / "map").write_text('{"u-1": "4711"}')
    report = run("otpauth", LIST.replace("hotp", "totp"), "--map", str(tmp_path / "map"))
    assert report.lines[:2] == [
        "adopted: line 1 u-1 -> 123456789012/user/4711", "refused: line 2 u-2: the owner is not in the map of names",
    ]


@pytest.mark.parametrize(("text", "sentence"), [
    ("[]", "the map is a JSON object of texts"), ('{"a": "b", "c": 1}', "the map is a JSON object of texts"),
    ('{"a": "b", "a": "c"}', "this is no JSON, or an object in it names a field twice"),
    ("{", "this is no JSON, or an object in it names a field twice"),
])
def test_what_is_no_map(run, tmp_path, text, sentence):
    (tmp_path / "map").write_text(text)
    with pytest.raises(UnreadableSource, match=f"^{sentence}$"):
        run("otpauth", LIST, "--map", str(tmp_path / "map"))


def test_root_by_name(run, registry, clock):
    report = run("otpauth", LIST, "--root-owner", "u-1")
    assert report.facts["entries"][0]["principal"] == {"account": ACCOUNT, "kind": "root", "name": ""}
    assert registry.requires_code(PrincipalId.root(ACCOUNT))


def test_other_kinds_of_device_by_name(run, registry):
    text = f"u-1 otpauth://totp/alice?secret={SECRET}&algorithm=SHA256&digits=8&period=60"
    assert "the policy does not offer" in run("otpauth", text).lines[0]
    assert run("otpauth", text, "--offer", "sha512,8,30", "--offer", "SHA256,8,60").failure is None
    assert registry.device(user("u-1"), by=SERVICE).parameters == Parameters(algorithm="sha256", digits=8, period=60)


NO_OFFER = "an offer is written ALGORITHM,DIGITS,PERIOD, such as sha256,8,30"


@pytest.mark.parametrize(("offer", "sentence"), [
    *((offer, NO_OFFER) for offer in (
        "", "sha1", "sha1,6", "sha1,6,30,0", "sha1,6,-1", "a,b,c", "sha1,\u0666,30", f"sha1,6,{'9' * 10}",
        f"sha1,6,{'9' * 5000}",
    )),
    ("md5,6,30", "algorithm is 'sha1', 'sha256' or 'sha512' (RFC6238-1.2-HASH)"),
    ("sha1,9,30", "digits is 6, 7 or 8 (RFC4226-5.3-DIGITS)"), ("sha1,6,0", refusal_of(period=0)),
    ("sha1,6,999999999", "a policy needs: periods of at most 300 s"),
])
def test_what_is_no_offer(run, offer, sentence):
    with pytest.raises(InvalidValue) as caught:
        run("otpauth", LIST, "--offer", offer)
    assert str(caught.value) == sentence


def test_short_keys_by_name(run):
    text = "u-1 otpauth://totp/alice?secret=JBSWY3DPEHPK3PXP"
    assert run("otpauth", text).failure
    assert run("otpauth", text, "--unsafe-short-keys").failure is None


def test_what_goes_to_a_terminal_is_printable(run):
    (line, _) = run("otpauth", f"\x1b[2Jevil otpauth://totp/alice?secret={SECRET}").lines
    assert line.isprintable()
    assert "\\x1b[2Jevil" in line


def test_notes_are_told(run):
    (line, _) = run("google-authenticator", f'{SECRET}\n" TOTP_AUTH\n12345678\n', "--owner", "u-1").lines
    assert line == "adopted: file u-1 -> 123456789012/user/u-1: 1 scratch codes are not taken over"


def test_notes_are_told_one_behind_the_other(run):
    fields = {"user": 1, "confirmed": True, "key": "00" * 20, "step": 30, "t0": 0, "digits": 6, "drift": 0, "last_t": 5,
              "tolerance": 3, "throttling_failure_count": 100}
    record = {"model": "otp_totp.totpdevice", "pk": 7, "fields": fields}
    assert run("django-otp", json.dumps([record])).lines[0] == (
        "adopted: totpdevice 7 1 -> 123456789012/user/1: "
        "tolerance was 3: the policy's window replaces it; disabled: too many failures"
    )


class TestReading:
    def test_standard_input(self, monkeypatch):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeff\u00e9".encode())))
        assert command.read_text("-") == "\u00e9"

    def test_a_byte_order_mark(self, tmp_path):
        (tmp_path / "file").write_bytes("\ufeff[]".encode())
        assert command.read_text(str(tmp_path / "file")) == "[]"

    def test_no_file(self, tmp_path):
        with pytest.raises(UnreadableSource, match=r"^the file cannot be read: No such file or directory$"):
            command.read_text(str(tmp_path / "none"))

    def test_no_utf8(self, tmp_path):
        (tmp_path / "file").write_bytes(b"\xff" + SECRET.encode())
        with pytest.raises(UnreadableSource, match=r"^the file is no UTF-8$") as caught:
            command.read_text(str(tmp_path / "file"))
        assert_silent(caught.value, SECRET)

    def test_too_much(self, tmp_path, monkeypatch):
        monkeypatch.setattr(command, "MAX_SOURCE_BYTES", 4)
        (tmp_path / "file").write_text(SECRET)
        with pytest.raises(UnreadableSource, match=r"^a source has at most 4 bytes$") as caught:
            command.read_text(str(tmp_path / "file"))
        assert_silent(caught.value, SECRET)
        (tmp_path / "file").write_text(SECRET[:4])
        assert command.read_text(str(tmp_path / "file")) == SECRET[:4]

    def test_a_source_has_at_most_256_mebibytes(self, tmp_path):
        with open(tmp_path / "file", "wb") as file:
            file.truncate((256 << 20) + 1)  # a hole: it takes no room
        with pytest.raises(UnreadableSource, match=r"^a source has at most 268435456 bytes$"):
            command.read_text(str(tmp_path / "file"))

    @pytest.mark.parametrize("way", ["a file", "-"])
    def test_of_a_source_that_never_ends_not_a_byte_more_is_read_than_shows_it(self, tmp_path, monkeypatch, way):
        monkeypatch.setattr(command, "MAX_SOURCE_BYTES", 4)
        os.mkfifo(tmp_path / "fifo")
        with open(tmp_path / "fifo", "r+b", buffering=0) as endless, open(tmp_path / "fifo", "rb") as stdin:
            endless.write(SECRET[:5].encode())
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
            patience = Timer(10, endless.write, [b"who reads on gets more"])
            patience.start()
            with pytest.raises(UnreadableSource, match="at most 4 bytes"):
                command.read_text("-" if way == "-" else str(tmp_path / "fifo"))
            assert patience.is_alive()
            patience.cancel()

    @pytest.mark.parametrize("kind", ["django-otp", "passlib", "pyotp"])
    def test_no_json(self, run, kind):
        with pytest.raises(UnreadableSource, match="no JSON") as caught:
            run(kind, f'[{{"secret": "{SECRET}"')
        assert_silent(caught.value, SECRET)

    @pytest.mark.parametrize("kind", ["django-otp", "passlib", "pyotp"])
    def test_no_list(self, run, kind):
        with pytest.raises(UnreadableSource, match="a JSON list of objects") as caught:
            run(kind, f'{{"secret": "{SECRET}"}}')
        assert_silent(caught.value, SECRET)
