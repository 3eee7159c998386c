"""Read master keys from files and environment variables.

A master key is written in hexadecimal or Base64; a file may also hold the bytes themselves. No
error contains any part of what was read.
"""

from __future__ import annotations

import os
import re
import stat
from binascii import Error as BinasciiError, a2b_base64, a2b_hex
from typing import Final

from ..errors import InvalidValue

MIN_BYTES: Final = 32
MAX_FILE_BYTES: Final = 4096
GROUP_READS: Final = 0o040
OTHERS: Final = 0o077  # every access of the group and of others

_FLAGS: Final[int] = (  # O_NONBLOCK: do not wait for the writer of a FIFO
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)  # only Windows has it, and lacks the other ones
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_HEX: Final = re.compile(rb"[0-9A-Fa-f]+")
_KEY_LIKE: Final = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
_TEXT: Final = re.compile(rb"[\t\n\r -~]*")  # printable ASCII


def read_key_file(path: str | os.PathLike[str]) -> bytes:
    """Return the master key in a file.

    :raises InvalidValue: as :func:`read_private_file`, or the file does not contain a master key.
    """
    hint = "create one with 'vmfa keys generate FILE'"
    content = read_private_file(path, what="key file", hint=hint)
    key = decode_master_key(content, raw=True)
    del content  # error trackers record the locals of a raising frame
    if key is not None:
        return key
    raise InvalidValue(
        f"the key file{_shown(os.fspath(path))} does not contain a master key: it needs at least"
        f" {MIN_BYTES} random bytes, as they are or in hexadecimal or Base64; {hint}"
    )


def read_private_file(path: str | os.PathLike[str], *, what: str, hint: str) -> bytes:
    """Return the content of a small file that other users cannot access.

    On POSIX the file must belong to this process's user, who alone may access it, or to root, in
    which case its group may read it. Windows has neither owner nor mode in this sense: restrict
    the file there by its access control list.

    :param what: what the file is, such as "key file".
    :param hint: how to create it.
    :raises InvalidValue: the file is missing, is not a regular file, is too long, or may be
        accessed by other users.
    """
    name = os.fspath(path)
    content, problem = b"", ""
    try:
        descriptor = os.open(name, _FLAGS)
        try:
            problem = _problem_with(os.fstat(descriptor))
            content = b"" if problem else os.read(descriptor, MAX_FILE_BYTES + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        problem = f"does not exist: {hint}"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if len(content) > MAX_FILE_BYTES:
        problem = f"has more than {MAX_FILE_BYTES} bytes"
    if not problem:
        return content
    del content  # error trackers record the locals of a raising frame
    raise InvalidValue(f"the {what}{_shown(name)} {problem}")


def read_key_variable(name: str) -> bytes:
    """Return the master key in an environment variable, in hexadecimal or Base64.

    :raises InvalidValue: the variable is not set, or does not contain a master key.
    """
    key = decode_master_key(os.environ.get(name, "").encode("utf-8", "replace"), raw=False)
    if key is not None:
        return key
    problem = "is not set"
    if name in os.environ:
        problem = (
            f"does not contain a master key: it needs at least {MIN_BYTES} random bytes in"
            " hexadecimal or Base64"
        )
    raise InvalidValue(f"the environment variable{_shown(name)} {problem}")


def decode_master_key(content: bytes, *, raw: bool) -> bytes | None:
    """Return the master key that *content* spells, or None.

    Text is either hexadecimal or Base64, with the standard or the URL-safe alphabet. Blanks around
    it are ignored. Other text is refused: it is a damaged key or a passphrase. With *raw*, content
    that is not text is the key itself.
    """
    if not _TEXT.fullmatch(content):
        return content if raw and len(content) >= MIN_BYTES else None
    text = content.strip()
    try:
        if _HEX.fullmatch(text):
            key = a2b_hex(text)
        else:
            text = text.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
            key = a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except BinasciiError:
        return None
    return key if len(key) >= MIN_BYTES else None


def _shown(name: str) -> str:
    """Return *name* for a message, unless it may be a key that was passed by mistake."""
    if _KEY_LIKE.fullmatch(name) and not os.path.lexists(name) and name not in os.environ:
        return ""
    return f" {name!r}"


def _problem_with(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if not hasattr(os, "geteuid"):
        return ""
    if status.st_uid not in (os.geteuid(), 0):
        return f"belongs to another user (uid {status.st_uid}): change its owner"
    # As for key files of PostgreSQL: a service in a container reads root's file by its group.
    forbidden = OTHERS if status.st_uid == os.geteuid() else OTHERS & ~GROUP_READS
    if status.st_mode & forbidden:
        return "can be accessed by other users: restrict it with chmod 600"
    return ""
