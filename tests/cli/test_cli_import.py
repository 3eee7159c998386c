"""``vmfa import`` and ``vmfa enroll --qr``: other rooms' work, wired into the command line."""

from __future__ import annotations

import sys

from vmfa import Key, totp

KEY = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"




def formats(terminal):
    return terminal.run("import", "--help").out


def test_help_names_the_formats(terminal):
    told = formats(terminal)
    for name in ("otpauth", "django-otp", "passlib", "pyotp"):
        assert name in told


def test_a_uri_list_is_rehearsed_and_then_adopted(terminal, tmp_path):
    """A dry run says per entry what would be done and writes nothing; then the device verifies here."""
    file = tmp_path / "uris.txt"
    file.write_text(f"otpauth://totp/Old:u-4711?secret={KEY}&issuer=Old\n")
    arguments = ("import", "otpauth", str(file), "--account", "123456789012", "--json")
    rehearsed = terminal.run(*arguments, "--dry-run")
    assert rehearsed.code == 0, rehearsed.err
    assert KEY not in rehearsed.out + rehearsed.err
    assert terminal.run("show", "123456789012/u-4711").code != 0
    done = terminal.run(*arguments)
    assert done.code == 0, done.err
    again = terminal.run(*arguments)
    assert again.code == 0, again.err
    assert "already" in again.out
    terminal.clock.advance(90)
    code = totp(Key.from_base32(KEY), terminal.clock())
    assert terminal.run("verify", "123456789012/u-4711", code).code == 0


def test_people_read_what_became_of_each_entry_and_that_not_all_were_adopted(terminal, tmp_path):
    file = tmp_path / "uris.txt"
    file.write_text(f"u-1 otpauth://totp/a?secret={KEY}\nu-2 no URI\n")
    outcome = terminal.run("import", "otpauth", str(file), "--account", "123456789012")
    assert outcome.code == 2
    assert outcome.out.splitlines() == [
        "adopted: line 1 u-1 -> 123456789012/user/u-1",
        "refused: line 2 : a line is a key URI, or an owner's name and a key URI",
        "1 adopted, 0 already adopted, 1 refused",
    ]
    assert outcome.err == "vmfa: 1 of 2 entries refused\n"


def test_a_file_that_is_not_there_is_named(terminal):
    outcome = terminal.run("import", "otpauth", "nowhere.txt", "--account", "1")
    assert outcome.code in (2, 5)
    assert outcome.err.count("\n") == 1


def test_without_the_extra_for_sealing_the_error_names_it_and_all_else_works(terminal, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    monkeypatch.delitem(sys.modules, "vmfa.keysources.sealed", raising=False)
    phone = terminal.enroll("123456789012/u-4711")
    assert terminal.run("verify", "123456789012/u-4711", phone.code()).code == 0
    (tmp_path / "uris.txt").write_text("")
    outcome = terminal.run("import", "otpauth", str(tmp_path / "uris.txt"), "--account", "1")
    assert outcome.code == 5
    assert outcome.err == "vmfa: sealed keys need the extra sealing: pip install 'vmfa[sealing]'\n"


def test_an_enrollment_is_drawn_for_the_phone(terminal):
    outcome = terminal.run("enroll", "123456789012/u-4711", "--label", "alice", "--qr")
    assert outcome.code == 0, outcome.err
    assert any(block in outcome.out for block in "█▀▄")


def test_without_the_extra_the_error_names_it(terminal, monkeypatch):
    monkeypatch.setitem(sys.modules, "segno", None)
    monkeypatch.delitem(sys.modules, "vmfa.qr", raising=False)
    outcome = terminal.run("enroll", "123456789012/u-4711", "--label", "alice", "--qr")
    assert outcome.code != 0
    assert "vmfa[qr]" in outcome.err
    assert terminal.run("list", "123456789012").out.count("u-4711") == 0  # nothing half-done
