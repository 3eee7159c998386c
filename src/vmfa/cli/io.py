"""Files, standard input and printing.

Everything that is printed passes :func:`escape`, because names, reasons, imported files and the
database can contain control sequences that rewrite what a terminal shows.
"""

from __future__ import annotations

import os
import stat
import sys
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from getpass import GetPassWarning, getpass
from io import StringIO
from typing import Final, TextIO

from ..errors import InvalidValue
from ..keys import random_bytes
from ..keysources import loading
from .errors import EnvironmentProblem, UnreadableFile, WrongUsage

MAX_LINE_BYTES: Final = 4096  # of a typed line
MAX_SOURCE_BYTES: Final = 1 << 26  # of a file that is read as a whole
MASTER_KEY_BYTES: Final = 32
PROGRESS_STEP: Final = 100
MAX_LINKS: Final = 40  # as Linux counts them
OTHERS_WRITE: Final = 0o022
BLANK: Final = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0")  # printable, but invisible

ENCODINGS: Final[dict[str, Callable[[bytes], bytes]]] = {  # the formats of a key file
    "raw": lambda key: key,
    "hex": lambda key: key.hex().encode() + b"\n",
    "base64": lambda key: b64encode(key) + b"\n",
}


# Printing


class Drawing(str):
    """Text with control sequences of our own, printed as it is: a QR code for the terminal."""

    __slots__ = ()


def escape(text: str) -> str:
    """Return *text* with every character that does not print as itself written as ``\\x1b``.

    That covers control characters, ANSI sequences, line breaks, bidirectional controls, invisible
    characters and undecodable bytes (surrogates).
    """
    if text.isprintable() and BLANK.isdisjoint(text):
        return text
    return "".join(
        character
        if character.isprintable() and character not in BLANK
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def print_lines(lines: Iterable[str]) -> None:
    """Print each of *lines* on standard output. A line break inside of one is escaped.

    :raises OSError: the output cannot be written.
    """
    _write(sys.stdout, printed(lines))


def printed(lines: Iterable[str]) -> str:
    """Return what :func:`print_lines` prints."""
    return "".join(f"{_printable(line)}\n" for line in lines)


def print_error(text: str) -> None:
    """Print one line on standard error, unless nothing reads it."""
    with suppress(OSError):
        _write(sys.stderr, f"{_printable(text)}\n")


class Progress:
    """A line on standard error that counts, if a terminal shows it."""

    __slots__ = ("_count", "_shown", "_total", "_visible")

    def __init__(self, total: int) -> None:
        """Begin at 0 of *total*."""
        self._count = 0
        self._total = total
        self._shown = total >= PROGRESS_STEP and sys.stderr.isatty()
        self._visible = False

    def advance(self) -> None:
        """Count one, and show the new count now and then."""
        self._count += 1
        if self._shown and self._count % PROGRESS_STEP == 0:
            self._write(f"\r{self._count} of {self._total}")
            self._visible = True

    def clear(self) -> None:
        """Remove the line from the terminal."""
        if self._visible:
            self._write("\r\x1b[K")
            self._visible = False

    def _write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


def _printable(line: str) -> str:
    return line if isinstance(line, Drawing) else escape(line)


def _write(stream: TextIO, text: str) -> None:
    """Write *text* with what the encoding of *stream* does not have as escapes."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


# Standard input


def ask(given: str | None, what: str) -> str:
    """Return *given*; if it was omitted or is ``-``, read a line of standard input.

    :param what: what to ask for, such as "code". A terminal does not show what is typed.
    :raises WrongUsage: standard input ends first.
    :raises EnvironmentProblem: standard input cannot be read, or the terminal would show the text.
    """
    if given is not None and given != "-":
        return given
    if sys.stdin is not None and sys.stdin.isatty():
        return _ask_terminal(what)
    try:
        line = sys.stdin.buffer.readline(MAX_LINE_BYTES) if sys.stdin is not None else b""
    except OSError as error:
        raise EnvironmentProblem(f"standard input cannot be read: {error.strerror}") from None
    if not line:
        raise WrongUsage(f"standard input ended before the {what}")
    return line.decode("utf-8", "replace")


def _ask_terminal(what: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error", GetPassWarning)
        try:
            return getpass(f"{what} (not shown): ")
        except GetPassWarning:
            message = f"this terminal would show the {what}: pipe it to standard input"
            raise EnvironmentProblem(message) from None
        except EOFError:
            raise WrongUsage(f"standard input ended before the {what}") from None
        except UnicodeError:  # it carries what was typed
            return "\N{REPLACEMENT CHARACTER}"  # which is neither a code nor a key


def read_source(path: str) -> str:
    """Return the UTF-8 text of the file *path*, or of standard input if it is ``-``.

    :raises UnreadableFile: it cannot be read, is too long, or is not UTF-8.
    """
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_SOURCE_BYTES + 1) if sys.stdin is not None else b""
        else:
            with open(path, "rb") as file:
                data = file.read(MAX_SOURCE_BYTES + 1)
        if len(data) <= MAX_SOURCE_BYTES:
            return data.decode("utf-8-sig")
        problem = f"the file has more than {MAX_SOURCE_BYTES} bytes"
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        problem = "the file is not UTF-8 text"
    data = b""  # error trackers record the locals of a raising frame
    raise UnreadableFile(problem)


def open_source(path: str) -> TextIO:
    """Open the file *path*, to read it as UTF-8 text more than once.

    What can be read only once, such as standard input (``-``) or a pipe, is read into memory. The
    caller closes the file.

    :raises UnreadableFile: it cannot be read, or cannot be read twice and is too long.
    """
    try:
        if path != "-" and stat.S_ISREG(os.stat(path).st_mode):
            return open(path, encoding="utf-8-sig", newline="\n")  # see above
    except OSError as error:
        problem = f"the file cannot be read: {error.strerror}"
    else:
        return StringIO(read_source(path))
    raise UnreadableFile(problem)


# Files with keys


def read_key_file(path: str) -> bytes:
    """Return the master key in the file *path*: raw bytes, or text in hex or Base64.

    :raises EnvironmentProblem: it is missing, is not a regular file, belongs to another user, is
        accessible to others, or does not contain a master key.
    """
    try:
        return loading.read_key_file(path)
    except InvalidValue as error:
        raise EnvironmentProblem(str(error)) from None


def read_private_file(path: str, what: str, *, hint: str) -> bytes:
    """Return the content of the file *path*, which only its owner can access.

    :param what: what the file is, such as "audit key file".
    :param hint: how to create it.
    :raises EnvironmentProblem: as for :func:`read_key_file`.
    """
    try:
        return loading.read_private_file(path, what=what, hint=hint)
    except InvalidValue as error:
        raise EnvironmentProblem(str(error)) from None


def create_key_file(path: str, encoding: str = "raw") -> None:
    """Write a new master key to the new file *path*, as :func:`create_private_file` does.

    :param encoding: a name in ``ENCODINGS``.
    """
    content = ENCODINGS[encoding](random_bytes(MASTER_KEY_BYTES))
    create_private_file(path, content, "key file")


def create_private_file(path: str, content: bytes, what: str) -> None:
    """Write *content* to the new file *path*, which only its owner can access.

    It is on the disk when this returns. A file that exists is never changed. A process that is
    killed leaves no file at *path* or the whole one, and may leave a temporary file beside it,
    whose name ends in ``.tmp``.

    :param what: what the file is, such as "key file".
    :raises EnvironmentProblem: the file exists, or cannot be written.
    """
    from tempfile import mkstemp  # most commands do not need it

    directory, name = os.path.split(os.path.abspath(path))
    problem = ""
    try:
        descriptor, temporary = mkstemp(prefix=f".{name}.", suffix=".tmp", dir=directory)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            _publish(temporary, path)
        finally:
            with suppress(FileNotFoundError):  # it was moved
                os.unlink(temporary)
        try:
            _sync_directory(directory)
        except BaseException:
            os.unlink(path)  # a key that may not be on the disk must not create devices
            raise
    except FileExistsError:
        problem = "exists already and was not changed"
    except OSError as error:
        problem = f"cannot be created: {error.strerror}"
    del content  # error trackers record the locals of a raising frame
    if problem:
        raise EnvironmentProblem(f"the {what} {problem}")


def create_report_file(path: str, lines: Iterable[str]) -> None:
    """Write *lines* to the new file *path* as UTF-8, as :func:`print_lines` prints them."""
    create_private_file(path, printed(lines).encode(), "output file")


def _publish(temporary: str, path: str) -> None:
    """Give the whole file *temporary* the new name *path*.

    A link never replaces a file and needs no second step. Some file systems, such as FAT, have no
    links. There the name is reserved first: a process that is killed between the two steps leaves
    an empty file at *path*, which no command accepts as a key.

    :raises FileExistsError: there is a file at *path*. It was not changed.
    :raises OSError: the name cannot be given.
    """
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except (AttributeError, NotImplementedError, OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            os.replace(temporary, path)
        except BaseException:
            os.unlink(path)
            raise


def create_public_file(path: str, content: bytes, what: str) -> None:
    """Write *content* to the new file *path*, which everyone may read.

    :param what: what the file is, such as "public key file".
    :raises EnvironmentProblem: the file exists, or cannot be written.
    """
    try:
        with open(path, "xb") as file:
            file.write(content)
    except FileExistsError:
        raise EnvironmentProblem(f"the {what} exists already and was not changed") from None
    except OSError as error:
        raise EnvironmentProblem(f"the {what} cannot be created: {error.strerror}") from None


def _sync_directory(path: str) -> None:
    """Make the new name in the directory *path* durable. Windows has no counterpart."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# The database


def check_database(path: str) -> bool:
    """Check that no other user can replace or change the database. Return whether it exists.

    :raises EnvironmentProblem: the file is not a regular one, can be changed by others, or belongs
        to another user, as may a symbolic link to it or a directory on the way.
    """
    for name in _links(path):
        with suppress(OSError):  # of a missing directory, for example: the store reports it
            _check_owner(
                os.stat(os.path.dirname(name)), "directory of the database", root_too=True
            )
            _check_owner(
                os.lstat(name), "link to the database" if os.path.islink(name) else "database"
            )
    try:
        status = os.stat(path)
    except OSError as error:
        if os.path.lexists(path):
            raise EnvironmentProblem(f"the database cannot be opened: {error.strerror}") from None
        return False
    if not stat.S_ISREG(status.st_mode):
        raise EnvironmentProblem("the database is not a regular file")
    _check_owner(status, "database")
    if hasattr(os, "geteuid") and status.st_mode & OTHERS_WRITE:  # Windows has no such bits
        raise EnvironmentProblem(
            "other users can change the database: restrict it with chmod go-w"
        )
    return True


def _links(path: str) -> Iterator[str]:
    """The path, and if it is a symbolic link, each path on the way to the file itself."""
    for _ in range(MAX_LINKS):
        path = os.path.abspath(path)
        yield path
        if not os.path.islink(path):
            return
        path = os.path.join(os.path.dirname(path), os.readlink(path))


def _check_owner(status: os.stat_result, what: str, *, root_too: bool = False) -> None:
    """:raises EnvironmentProblem: it belongs to another user than the one this process acts as."""
    if (
        not hasattr(os, "geteuid")
        or status.st_uid == os.geteuid()
        or (root_too and status.st_uid == 0)
    ):
        return
    raise EnvironmentProblem(
        f"the {what} belongs to another user (uid {status.st_uid}): run vmfa as that user"
    )
