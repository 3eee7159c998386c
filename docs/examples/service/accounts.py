"""Users with passwords, and sessions on the server, in one SQLite file.

This is the first factor: it stands for what your service has already. Run this file to add a user.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import normalize

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

PASSWORD_SECONDS = 15 * 60  # how long a session lasts after the password alone
SESSION_SECONDS = 8 * 3600  # and how long after the second factor
MIN_PASSWORD_CHARACTERS = 8
TOKEN_CHARACTERS = 43  # 32 random bytes

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS user (
    id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, password TEXT NOT NULL,
    is_admin INTEGER NOT NULL, has_device INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS session (
    digest TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES user (id),
    password_at INTEGER NOT NULL, claim TEXT NOT NULL DEFAULT '',
    enrollment TEXT NOT NULL DEFAULT '', used_forms TEXT NOT NULL DEFAULT '',
    return_to TEXT NOT NULL DEFAULT '', notice TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS secret (value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class User:
    """A user. ``id`` is random and never reused; ``email`` may change.

    ``has_device`` is the service's own record of the fact that this user must present a code.
    """

    id: str
    email: str
    is_admin: bool
    has_device: bool


@dataclass(frozen=True)
class Session:
    """A session of a user who entered the password, and perhaps presented a second factor."""

    token: str = field(repr=False)
    user: User
    claim: dict[str, Any] | None  # of the second factor, as MfaClaim.to_dict() wrote it
    enrollment: str  # the id of the enrollment that this browser opened
    return_to: str  # the page that asked for a new code
    notice: str  # shown once


class Accounts:
    """The users and the sessions. Threads may share it."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._hasher = PasswordHasher()
        self._unknown_user = self._hasher.hash(secrets.token_hex())
        path.touch(mode=0o600)
        with self._database() as database:
            database.executescript(SCHEMA)
            database.execute(
                "INSERT INTO secret SELECT ? WHERE NOT EXISTS (SELECT 1 FROM secret)",
                (secrets.token_hex(32),),
            )
            secret: str = database.execute("SELECT value FROM secret").fetchone()[0]
        self._secret = bytes.fromhex(secret)

    # Users

    def add(self, email: str, password: str, *, is_admin: bool = False) -> User:
        """Add a user.

        :raises ValueError: the e-mail address is taken, or the password is too short.
        """
        if len(password) < MIN_PASSWORD_CHARACTERS:
            raise ValueError(f"the password needs {MIN_PASSWORD_CHARACTERS} characters")
        user = User(secrets.token_hex(8), _normalized(email), is_admin, has_device=False)
        try:
            with self._database() as database:
                database.execute(
                    "INSERT INTO user (id, email, password, is_admin) VALUES (?, ?, ?, ?)",
                    (user.id, user.email, self._hasher.hash(password), is_admin),
                )
        except sqlite3.IntegrityError:
            raise ValueError("there is a user with this e-mail address") from None
        return user

    def user(self, user_id: str) -> User | None:
        """Return the user with this id."""
        with self._database() as database:
            row = database.execute("SELECT * FROM user WHERE id = ?", (user_id,)).fetchone()
        return _user(row) if row else None

    def users(self) -> list[User]:
        """Return all users."""
        with self._database() as database:
            return [_user(row) for row in database.execute("SELECT * FROM user ORDER BY email")]

    def check_password(self, email: str, password: str) -> User | None:
        """Return the user, or None. An unknown e-mail address takes as long as a known one."""
        with self._database() as database:
            row = database.execute(
                "SELECT * FROM user WHERE email = ?", (_normalized(email),)
            ).fetchone()
        try:
            self._hasher.verify(row["password"] if row else self._unknown_user, password)
        except VerifyMismatchError:
            return None
        return _user(row) if row else None

    def set_device(self, user: User, has_device: bool) -> None:
        """Record that *user* must present a code from now on, or that the device was removed."""
        with self._database() as database:
            database.execute("UPDATE user SET has_device = ? WHERE id = ?", (has_device, user.id))

    def keyed_hash(self, user: User) -> str:
        """Return a hash of the user's id that shows nothing of it, for names of cookies."""
        return hmac.digest(self._secret, user.id.encode(), "sha256").hex()[:32]

    # Sessions. The database has only a hash of each token.

    def start_session(self, user: User, *, replaced: str) -> str:
        """Start a session of a user who entered the password; return its token.

        :param replaced: the token that the browser had before. Its session ends.
        """
        token, now = new_token(), int(self._clock())
        with self._database() as database:
            database.execute(
                "DELETE FROM session WHERE digest = ? OR password_at <= ?",
                (_digest(replaced), now - SESSION_SECONDS),
            )
            database.execute(
                "INSERT INTO session (digest, user_id, password_at) VALUES (?, ?, ?)",
                (_digest(token), user.id, now),
            )
        return token

    def renew_session(
        self, session: Session, *, claim: dict[str, Any] | None, notice: str = ""
    ) -> str:
        """Give a session a new token, because its rights change; return the token.

        The old token is worthless. If the session was ended meanwhile, the new one is as well.

        :param claim: the claim of the second factor; None if there is none any more.
        """
        token = new_token()
        with self._database() as database:
            database.execute(
                "UPDATE session SET digest = ?, claim = ?, enrollment = '', used_forms = '',"
                " return_to = '', notice = ? WHERE digest = ?",
                (_digest(token), _to_json(claim), notice, _digest(session.token)),
            )
        return token

    def save_session(self, session: Session) -> None:
        """Store the claim, the enrollment, the page to return to and the notice of a session."""
        with self._database() as database:
            database.execute(
                "UPDATE session SET claim = ?, enrollment = ?, return_to = ?, notice = ?"
                " WHERE digest = ?",
                (
                    _to_json(session.claim),
                    session.enrollment,
                    session.return_to,
                    session.notice,
                    _digest(session.token),
                ),
            )

    def session(self, token: str) -> Session | None:
        """Return the session with this token, unless it is over."""
        with self._database() as database:
            row = database.execute(
                "SELECT * FROM session JOIN user ON user.id = session.user_id WHERE digest = ?",
                (_digest(token),),
            ).fetchone()
        if row is None:
            return None
        seconds = SESSION_SECONDS if row["claim"] else PASSWORD_SECONDS
        if int(self._clock()) >= row["password_at"] + seconds:
            return None
        return Session(
            token=token,
            user=_user(row),
            claim=json.loads(row["claim"]) if row["claim"] else None,
            enrollment=row["enrollment"],
            return_to=row["return_to"],
            notice=row["notice"],
        )

    def is_first_use(self, session: Session, form: str) -> bool:
        """Return whether the form with this random value was never submitted in this session."""
        with self._database() as database:
            changed = database.execute(
                "UPDATE session SET used_forms = used_forms || ? WHERE digest = ?"
                " AND instr(used_forms, ?) = 0",
                (f"{form} ", _digest(session.token), form),
            )
            return changed.rowcount == 1

    def end_session(self, token: str) -> None:
        """End one session."""
        with self._database() as database:
            database.execute("DELETE FROM session WHERE digest = ?", (_digest(token),))

    def end_sessions(self, user: User, *, except_for: str = "") -> None:
        """End every session of *user*, except for the one with this token."""
        with self._database() as database:
            database.execute(
                "DELETE FROM session WHERE user_id = ? AND digest != ?",
                (user.id, _digest(except_for)),
            )

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path)) as database, database:
            database.row_factory = sqlite3.Row
            yield database


def new_token() -> str:
    """Return the value of a new session cookie."""
    return secrets.token_urlsafe(32)


def is_token(text: str) -> bool:
    """Return whether *text* has the form of a session cookie."""
    return len(text) == TOKEN_CHARACTERS and text.isascii()


def csrf_token(token: str) -> str:
    """Return what the forms of a page carry: it proves that they came from this browser's page."""
    return hmac.digest(token.encode(), b"csrf", "sha256").hex()


def csrf_is_valid(token: str, submitted: str) -> bool:
    """Return whether *submitted* came with a form for the browser that sent the cookie *token*."""
    expected = csrf_token(token).encode()
    return is_token(token) and hmac.compare_digest(expected, submitted.encode("utf-8", "replace"))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _normalized(email: str) -> str:
    return normalize("NFC", email).strip().lower()


def _to_json(claim: dict[str, Any] | None) -> str:
    return json.dumps(claim) if claim else ""


def _user(row: sqlite3.Row) -> User:
    return User(row["id"], row["email"], bool(row["is_admin"]), bool(row["has_device"]))


def main() -> None:
    """Add a user to ``accounts.db`` in the current directory."""
    parser = argparse.ArgumentParser(description="Add a user to accounts.db.")
    parser.add_argument("email")
    parser.add_argument("--admin", action="store_true", help="may remove devices of other users")
    arguments = parser.parse_args()
    try:
        Accounts(Path("accounts.db")).add(
            arguments.email, getpass.getpass("password: "), is_admin=arguments.admin
        )
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
