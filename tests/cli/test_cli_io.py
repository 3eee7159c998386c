"""Printing, standard input, the key file and the database file."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import stat
import subprocess
import sys
import unicodedata
import warnings
from getpass import GetPassWarning
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import given, strategies as st

from leaks import assert_silent
from vmfa.cli.errors import EnvironmentProblem, UnreadableFile, WrongUsage
from vmfa.cli.io import (
    ENCODINGS,
    Drawing,
    ask,
    check_database,
    create_key_file,
    escape,
    print_error,
    print_lines,
    read_key_file,
    read_source,
)
from vmfa.keysources.loading import decode_master_key

if TYPE_CHECKING:
    from conftest import Terminal

SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
KEY = bytes(range(32))
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")

CONTROLS = [*range(0x20), *range(0x7F, 0xA0)]
BIDI = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
INVISIBLE = [
    0x00AD,
    0x034F,
    0x115F,
    0x1160,
    0x200B,
    0x200D,
    0x2028,
    0x2029,
    0x2060,
    0x2800,
    0x3164,
    0xFEFF,
    0xFFA0,
]
HOSTILE = [chr(code) for code in (*CONTROLS, *BIDI, *INVISIBLE, 0xD800, 0xDCFF, 0xDFFF, 0xE0041)]


# Printing


hostile_text = st.lists(
    st.one_of(
        st.sampled_from(HOSTILE),
        st.text(st.characters(), max_size=5),
        st.sampled_from(["\x1b[2J", "\x1b]0;title\x07", "\x1b[31m", "\r\n", "alice"]),
    )
).map("".join)


@given(hostile_text)
def test_escaped_text_has_no_character_that_controls_a_terminal(text: str) -> None:
    escaped = escape(text)
    assert not set(escaped) & set(HOSTILE)
    assert all(
        unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        for character in escaped
    )
    assert escape(escaped) == escaped
    escaped.encode()


@given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20))
def test_text_that_prints_as_itself_is_not_changed(text: str) -> None:
    if not set(text) & set(HOSTILE):
        assert escape(text) == text


@pytest.mark.parametrize("character", HOSTILE, ids=lambda character: f"U+{ord(character):04X}")
def test_every_such_character_is_escaped_by_its_number(character: str) -> None:
    assert re.fullmatch(r"a(\\x..|\\u....|\\U........|\\[nrt])b", escape(f"a{character}b"))


@given(st.lists(hostile_text, max_size=5))
def test_what_is_printed_has_as_many_lines_as_it_was_given(lines: list[str]) -> None:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        patch.setattr("sys.stderr", out)
        print_lines(lines)
        print_error("".join(lines))
    printed = out.getvalue()
    assert printed.count("\n") == len(lines) + 1
    assert not set(printed.replace("\n", "")) & set(HOSTILE)


def test_a_drawing_of_the_library_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_lines([Drawing("\x1b[7m \x1b[0m"), "\x1b[7m"])
    assert capsys.readouterr().out == "\x1b[7m \x1b[0m\n\\x1b[7m\n"


def test_names_in_other_scripts_print_on_any_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(tmp_path / "out", "w+", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        print_lines(["zo\xeb"])
        out.seek(0)
        assert out.read() == "zo\\xeb\n"


def test_an_error_is_printed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(raw, line_buffering=False))
    print_error("vmfa: wrong")
    assert raw.getvalue() == b"vmfa: wrong\n"


# Standard input


def test_an_argument_is_taken_as_it_is() -> None:
    assert ask("123456", "code") == "123456"


def test_not_a_byte_more_is_read_than_a_line_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    out, into = os.pipe()
    with open(out) as stdin, open(into, "wb", buffering=0) as endless:
        endless.write(b"A" * 4096)
        monkeypatch.setattr("sys.stdin", stdin)
        timer = Timer(10, endless.write, [b"read only by a reader that waits for more\n"])
        timer.start()
        assert ask(None, "key") == "A" * 4096
        assert timer.is_alive()
        timer.cancel()


@pytest.mark.parametrize("stdin", [None, io.TextIOWrapper(io.BytesIO(b""))])
def test_standard_input_that_is_closed_or_empty(
    monkeypatch: pytest.MonkeyPatch, stdin: io.TextIOWrapper | None
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(WrongUsage, match=r"^standard input ended before the code$"):
        ask("-", "code")


def test_standard_input_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object) -> NoReturn:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(Broken())))
    with pytest.raises(
        EnvironmentProblem, match=r"^standard input cannot be read: Input/output error$"
    ):
        ask(None, "key")


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (EOFError(), 2, "standard input ended before the key in Base32"),
        (
            GetPassWarning("Can not control echo"),
            5,
            "this terminal would show the key in Base32: pipe it to standard input",
        ),
        (UnicodeDecodeError("utf-8", b"GEZDGNBV\xff", 8, 9, "invalid start byte"), 2, ""),
    ],
)
def test_a_terminal_that_cannot_hide_the_text_or_ends(
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
    raised: Exception,
    code: int,
    sentence: str,
) -> None:
    def getpass(prompt: str) -> str:
        if not isinstance(raised, Warning):
            raise raised
        warnings.warn(raised, stacklevel=1)
        return SECRET

    terminal.getpass = getpass
    outcome = terminal.run("code", tty=True)
    assert outcome.code == code
    assert outcome.err == f"vmfa: {sentence}\n" or not sentence
    assert "GEZD" not in outcome.err


# Sources


def test_a_source_is_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeff\u00e9".encode())))
    assert read_source("-") == "\u00e9"
    monkeypatch.setattr(sys, "stdin", None)
    assert read_source("-") == ""


def test_a_source_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("\ufeff[]".encode())
    assert read_source(str(tmp_path / "file")) == "[]"


def test_a_source_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        UnreadableFile, match=r"^the file cannot be read: No such file or directory$"
    ):
        read_source(str(tmp_path / "none"))


def test_a_source_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff" + SECRET.encode())
    with pytest.raises(UnreadableFile, match=r"^the file is not UTF-8 text$") as caught:
        read_source(str(tmp_path / "file"))
    assert_silent(caught.value, SECRET)


def test_a_source_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmfa.cli.io.MAX_SOURCE_BYTES", 4)
    (tmp_path / "file").write_text(SECRET)
    with pytest.raises(UnreadableFile, match=r"^the file has more than 4 bytes$") as caught:
        read_source(str(tmp_path / "file"))
    assert_silent(caught.value, SECRET)
    (tmp_path / "file").write_text(SECRET[:4])
    assert read_source(str(tmp_path / "file")) == SECRET[:4]


def test_a_source_has_at_most_64_mebibytes(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file:
        file.truncate((64 << 20) + 1)  # a hole: it takes no space
    with pytest.raises(UnreadableFile):
        read_source(str(tmp_path / "file"))


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_of_a_source_without_an_end_not_a_byte_more_is_read_than_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("vmfa.cli.io.MAX_SOURCE_BYTES", 4)
    os.mkfifo(tmp_path / "fifo")
    with (
        open(tmp_path / "fifo", "r+b", buffering=0) as endless,
        open(tmp_path / "fifo", "rb") as stdin,
    ):
        endless.write(SECRET[:5].encode())
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stdin))
        timer = Timer(10, endless.write, [b"read only by a reader that waits for more"])
        timer.start()
        with pytest.raises(UnreadableFile, match="more than 4 bytes"):
            read_source("-" if way == "standard input" else str(tmp_path / "fifo"))
        assert timer.is_alive()
        timer.cancel()


# The key file


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    path.write_bytes(KEY)
    path.chmod(0o600)
    return path


def test_a_key_file_is_read(key_file: Path) -> None:
    assert read_key_file(str(key_file)) == KEY


def test_a_key_file_without_a_key_is_a_problem_of_the_environment(key_file: Path) -> None:
    key_file.write_bytes(bytes(31))
    with pytest.raises(EnvironmentProblem, match="does not contain a master key") as caught:
        read_key_file(str(key_file))
    assert_silent(caught.value, bytes(31))


@given(st.binary(min_size=32, max_size=100), st.sampled_from(["hex", "base64"]))
def test_every_encoding_of_a_new_key_file_is_decoded(key: bytes, encoding: str) -> None:
    assert decode_master_key(ENCODINGS[encoding](key), raw=True) == key


# New key files


@pytest.mark.parametrize(
    ("encoding", "pattern"),
    [
        ("raw", rb"(?s).{32}"),
        ("hex", rb"[0-9a-f]{64}\n"),
        ("base64", rb"[A-Za-z0-9+/]{43}=\n"),
    ],
)
def test_a_new_key_file_can_be_read(tmp_path: Path, encoding: str, pattern: bytes) -> None:
    path = tmp_path / "key"
    create_key_file(str(path), encoding)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch(pattern, path.read_bytes())
    assert len(read_key_file(str(path))) == 32


def test_a_new_key_is_32_bytes_of_the_operating_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def urandom(size: int) -> bytes:
        sizes.append(size)
        return KEY[:size]

    monkeypatch.setattr("vmfa.keys.urandom", urandom)
    create_key_file(str(tmp_path / "key"))
    assert sizes == [32]
    assert (tmp_path / "key").read_bytes() == KEY


def test_a_new_key_is_on_the_disk_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, int]] = []

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        synced.append((stat.S_ISDIR(status.st_mode), status.st_size))
        real(descriptor)

    real = os.fsync
    monkeypatch.setattr("os.fsync", fsync)
    create_key_file(str(tmp_path / "key"))
    assert synced[0] == (False, 32)
    assert [is_directory for is_directory, _ in synced] == [False, True]


def test_where_directories_cannot_be_synced_the_file_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.delattr("os.O_DIRECTORY")
    create_key_file(str(tmp_path / "key"))
    assert (tmp_path / "key").stat().st_size == 32


def test_an_existing_file_is_never_overwritten(key_file: Path) -> None:
    with pytest.raises(
        EnvironmentProblem, match=r"^the key file exists already and was not changed$"
    ):
        create_key_file(str(key_file))
    link = key_file.with_name("link")
    link.symlink_to(key_file.with_name("target"))
    with pytest.raises(EnvironmentProblem, match="exists already"):
        create_key_file(str(link))
    assert key_file.read_bytes() == KEY
    assert not key_file.with_name("target").exists()


def test_a_key_file_that_cannot_be_created(tmp_path: Path) -> None:
    with pytest.raises(
        EnvironmentProblem, match=r"^the key file cannot be created: No such file or directory$"
    ):
        create_key_file(str(tmp_path / "no" / "key"))


def test_a_key_file_that_is_half_written_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(
        EnvironmentProblem, match=r"^the key file cannot be created: No space left on device$"
    ):
        create_key_file(str(tmp_path / "key"))
    assert list(tmp_path.iterdir()) == []


def test_a_key_file_whose_name_may_not_be_on_the_disk_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: str) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("vmfa.cli.io._sync_directory", broken)
    with pytest.raises(EnvironmentProblem, match="Input/output error"):
        create_key_file(str(tmp_path / "key"))
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_replaced_with_links_or_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    for publish in (os.link, None):
        path.write_bytes(KEY)
        if publish is None:
            monkeypatch.delattr("os.link")
        with pytest.raises(EnvironmentProblem, match="exists already and was not changed"):
            create_key_file(str(path))
        assert list(tmp_path.iterdir()) == [path]
        assert path.read_bytes() == KEY


def no_links(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if reason == "the system has none":
        monkeypatch.delattr("os.link")
    else:
        monkeypatch.setattr("os.link", refuse)


@pytest.mark.parametrize("reason", ["the system has none", "the file system has none"])
def test_a_key_file_is_created_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    no_links(monkeypatch, reason)
    path = tmp_path / "key"
    create_key_file(str(path))
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_key_file(str(path))) == 32


def test_a_key_file_that_cannot_be_moved_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    no_links(monkeypatch, "the system has none")
    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(EnvironmentProblem, match="cannot be created: Permission denied"):
        create_key_file(str(tmp_path / "key"))
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from vmfa.cli.io import create_key_file

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(os, sys.argv[2], kill)
create_key_file(sys.argv[1])
"""


@pytest.mark.parametrize("call", ["fsync", "link", "unlink"])
def test_a_killed_process_leaves_no_key_file_or_a_whole_one(tmp_path: Path, call: str) -> None:
    path = tmp_path / "key"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path), call], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.exists() is (call == "unlink")
    if not path.exists():
        create_key_file(str(path))
    assert len(read_key_file(str(path))) == 32
    (leftover,) = set(tmp_path.iterdir()) - {path}
    assert leftover.name.startswith(".key.")
    assert leftover.name.endswith(".tmp")
    assert stat.S_IMODE(leftover.stat().st_mode) == 0o600


# The database


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "own" / "mfa.db"
    path.parent.mkdir()
    path.write_bytes(b"")
    path.chmod(0o600)
    return path


def database_problem(path: Path) -> str:
    with pytest.raises(EnvironmentProblem) as caught:
        check_database(str(path))
    return str(caught.value)


def test_a_database_of_this_user_may_be_a_link(database: Path, tmp_path: Path) -> None:
    assert check_database(str(database))
    (tmp_path / "link").symlink_to("second")
    (tmp_path / "second").symlink_to(database)
    assert check_database(str(tmp_path / "link"))


def test_a_database_that_does_not_exist(database: Path) -> None:
    assert not check_database(str(database.with_name("other.db")))
    assert not check_database(str(database.parent / "no" / "mfa.db"))


@AS_ROOT
def test_a_database_of_another_user(database: Path) -> None:
    os.chown(database, 12345, -1)
    assert (
        database_problem(database)
        == "the database belongs to another user (uid 12345): run vmfa as that user"
    )


@AS_ROOT
@pytest.mark.parametrize("name", ["mfa.db", "new.db"])
def test_a_database_in_a_directory_of_another_user(database: Path, name: str) -> None:
    os.chown(database.parent, 12345, -1)
    assert "directory of the database belongs to another user (uid 12345)" in database_problem(
        database.with_name(name)
    )


@AS_ROOT
def test_a_link_into_a_directory_of_another_user(database: Path, tmp_path: Path) -> None:
    os.chown(database.parent, 12345, -1)
    (tmp_path / "link").symlink_to(database)
    assert "directory of the database belongs to another user" in database_problem(
        tmp_path / "link"
    )
    (tmp_path / "new").symlink_to(database.with_name("new.db"))
    assert "directory of the database belongs to another user" in database_problem(
        tmp_path / "new"
    )


@AS_ROOT
def test_a_link_that_passes_through_a_directory_of_another_user(
    database: Path, tmp_path: Path
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "link").symlink_to(database)
    (tmp_path / "link").symlink_to(tmp_path / "theirs" / "link")
    os.chown(tmp_path / "theirs", 12345, -1)
    assert "directory of the database belongs to another user" in database_problem(
        tmp_path / "link"
    )


@AS_ROOT
def test_a_link_of_another_user_in_a_directory_that_everybody_can_write(
    database: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "mfa.db").symlink_to(database)
    os.chown(shared / "mfa.db", 12345, -1, follow_symlinks=False)
    assert "link to the database belongs to another user (uid 12345)" in database_problem(
        shared / "mfa.db"
    )


def test_a_user_may_keep_the_database_in_a_directory_of_root(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.stat
    monkeypatch.setattr("os.geteuid", lambda: database.stat().st_uid)
    monkeypatch.setattr(
        "os.stat",
        lambda path, **options: (
            os.lstat("/") if path == str(database.parent) else real(path, **options)
        ),
    )
    assert check_database(str(database))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_database_that_other_users_can_change(database: Path, mode: int) -> None:
    database.chmod(mode)
    assert (
        database_problem(database)
        == "other users can change the database: restrict it with chmod go-w"
    )


def test_a_database_that_is_a_directory_or_a_fifo(database: Path) -> None:
    assert database_problem(database.parent) == "the database is not a regular file"
    os.mkfifo(database.with_name("fifo"), 0o600)
    assert database_problem(database.with_name("fifo")) == "the database is not a regular file"


def test_a_link_to_nothing_and_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    assert (
        database_problem(tmp_path / "dangling")
        == "the database cannot be opened: No such file or directory"
    )
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert (
        database_problem(tmp_path / "loop")
        == "the database cannot be opened: Too many levels of symbolic links"
    )
