"""The protocol of a key source, and the master keys that all key sources share.

The same master keys authenticate stored records, claims and client tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from hmac import compare_digest
from os import PathLike
from typing import Final, Protocol, Self

from ..errors import InvalidType, InvalidValue, UnknownMasterKey
from ..keys import Key, Opaque, encode_fields, hkdf_expand, hkdf_extract, mac, reveal
from ..models import KeyRef, PrincipalId
from ..policy import Parameters

__all__ = ["AuditKey", "KeySource"]

MIN_MASTER_KEY_BYTES: Final = 32
DERIVE_ONLY: Final = "derive-only"  # in the text of an audit key


class RecordAuthenticator(Protocol):
    """Computes and checks the tags of stored records, claims and client tokens.

    ``authenticate`` is False only if records never leave the process.
    """

    authenticate: bool

    def tag(self, purpose: str, message: bytes) -> str:
        """Return the tag of *message* under the current master key."""
        ...

    def check(self, purpose: str, message: bytes, tag: str) -> bool:
        """Return whether *tag* was computed for *message*, under one of the master keys.

        :raises UnknownMasterKey: this process does not have its master key, or that key must not
            authenticate anything.
        """
        ...

    def audit_tag(self, purpose: str, message: bytes) -> str:
        """Return a second tag, which only auditors check."""
        ...


class KeySource(RecordAuthenticator, Protocol):
    """Issues, adopts and reveals the keys of devices, without I/O."""

    scheme: str

    def issue(
        self, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> tuple[KeyRef, Key]:
        """Return a new key and the reference that reveals it again."""
        ...

    def adopt(
        self, principal: PrincipalId, serial: str, parameters: Parameters, key: Key
    ) -> KeyRef:
        """Return the reference of a key that another system issued."""
        ...

    def reveal(
        self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> Key:
        """Return the key of *ref*, which is bound to the other arguments.

        :raises UnknownMasterKey: this process does not have its master key.
        """
        ...


class MasterKeys(Opaque):
    """Master keys and their roles. A master key has at least 32 random bytes.

    The id of a master key is a fingerprint of it. With a wrong master key, a code is therefore not
    counted as wrong: the error is :class:`~vmfa.UnknownMasterKey`.

    :param current: authenticates new records, and is the source of new device keys.
    :param retired: earlier keys. Records that they authenticated are still accepted.
    :param accepted: keys that will become current. Deploy them on all nodes before one uses them.
    :param derive_only: keys after ``reseal``. Devices derived under them still work, but a record
        that one of them authenticates is refused.
    :ivar current_id: the id of the current key.
    :raises InvalidType: a master key is not bytes.
    :raises InvalidValue: a master key is too short, or has two roles.

    :meth:`from_file` and :meth:`from_env` load master keys.
    """

    __slots__ = ("_authenticating", "_prks", "_subkeys", "current_id")
    current_id: str
    _authenticating: frozenset[str]
    _prks: dict[str, Key]
    _subkeys: dict[tuple[str, str], Key]
    scheme: str
    authenticate = True

    def __init__(
        self,
        current: bytes,
        *retired: bytes,
        accepted: Iterable[bytes] = (),
        derive_only: Iterable[bytes] = (),
    ) -> None:
        authenticating: tuple[bytes, ...] = ()
        master_keys: tuple[bytes, ...] = ()
        problem: InvalidType | InvalidValue | None
        try:
            authenticating = (current, *retired, *accepted)
            master_keys = (*authenticating, *derive_only)
            problem = _problem_with(master_keys)
        except TypeError:
            problem = InvalidType("accepted and derive_only must be tuples of master keys")
        if problem is not None:
            del current, retired, accepted, derive_only, authenticating, master_keys
            raise problem  # error trackers record the locals of a raising frame
        prks = [Key(hkdf_extract(b"vmfa", master_key)) for master_key in master_keys]
        ids = [_fingerprint(prk) for prk in prks]
        super().__init__(
            _authenticating=frozenset(ids[: len(authenticating)]),
            _prks=dict(zip(ids, prks, strict=True)),
            current_id=ids[0],
            _subkeys={},
        )

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        *retired: str | PathLike[str],
        accepted: Iterable[str | PathLike[str]] = (),
        derive_only: Iterable[str | PathLike[str]] = (),
    ) -> Self:
        """Return the master keys in files, one key a file: see the class for their roles.

        A file contains hexadecimal, Base64 or the bytes themselves. ``vmfa keys generate`` creates
        one. On POSIX only its owner may have access to it; if root owns it, its group may read it.

        :raises InvalidValue: a file is missing, is not a regular file, may be accessed by other
            users, or does not contain a master key.
        """
        from .loading import read_key_file

        return cls(
            read_key_file(path),
            *map(read_key_file, retired),
            accepted=list(map(read_key_file, accepted)),
            derive_only=list(map(read_key_file, derive_only)),
        )

    @classmethod
    def from_env(
        cls,
        name: str,
        *retired: str,
        accepted: Iterable[str] = (),
        derive_only: Iterable[str] = (),
    ) -> Self:
        """Return the master keys in environment variables: see the class for their roles.

        A variable contains hexadecimal or Base64.

        :param name: the name of the variable with the current master key.
        :raises InvalidValue: a variable is not set, or does not contain a master key.
        """
        from .loading import read_key_variable

        return cls(
            read_key_variable(name),
            *map(read_key_variable, retired),
            accepted=list(map(read_key_variable, accepted)),
            derive_only=list(map(read_key_variable, derive_only)),
        )

    def subkey(self, purpose: str, key_id: str) -> Key:
        """Return a key of 32 bytes for one *purpose*, derived from the master key *key_id*.

        :raises UnknownMasterKey: this process does not have that master key.
        """
        subkey = self._subkeys.get((purpose, key_id))
        if subkey is None:
            info = encode_fields("vmfa subkey v1", purpose, key_id)
            subkey = Key(hkdf_expand(self._prk(key_id), info, 32))
            self._subkeys[purpose, key_id] = subkey
        return subkey

    def tag(self, purpose: str, message: bytes) -> str:
        """Return the id of the current master key, a dot, and an HMAC-SHA-256 in hexadecimal."""
        key_id = self.current_id
        return f"{key_id}.{mac(self.subkey(purpose, key_id), 'sha256', message).hex()}"

    def check(self, purpose: str, message: bytes, tag: str) -> bool:
        """Return whether *tag* was computed for *message*, under one of the master keys.

        :raises UnknownMasterKey: this process does not have its master key, or that key is
            derive-only.
        """
        key_id, _, digest = tag.partition(".")
        if len(key_id) != 16 or not digest.isascii():
            return False
        if key_id not in self._authenticating:  # RULE-KEY-ROLES
            self._prk(key_id)
            raise UnknownMasterKey(
                "a record is authenticated under a derive-only master key: it is older than the "
                "last reseal. Reseal it offline, against a checkpoint that you trust"
            )
        return compare_digest(mac(self.subkey(purpose, key_id), "sha256", message).hex(), digest)

    def audit_tag(self, purpose: str, message: bytes) -> str:
        """Return the tag for auditors: like :meth:`tag`, under the audit key."""
        # RULE-AUDIT-KEY
        key_id = self.current_id
        audit_key = self.subkey("audit", key_id)
        return f"{key_id}.{mac(audit_key, 'sha256', encode_fields(purpose, message)).hex()}"

    def audit_key(self) -> AuditKey:
        """Return the key with which an auditor can check tags, and nothing else."""
        return AuditKey(
            {key_id: reveal(self.subkey("audit", key_id)) for key_id in self._prks},
            derive_only=self._prks.keys() - self._authenticating,
        )

    def _prk(self, key_id: str) -> Key:
        prk = self._prks.get(key_id)
        if prk is None:
            raise UnknownMasterKey(
                "a record needs a master key that this process does not have: check the key file"
            )
        return prk


class AuditKey(Opaque):
    """Checks the tags for auditors. It cannot compute a tag that the service accepts.

    :param keys: the 32 bytes of the audit key of each master key, by the id of the master key.
    :param derive_only: the ids of derive-only master keys. Only events from before the last reseal
        have their tags.
    """

    __slots__ = ("_derive_only", "_keys")
    _derive_only: frozenset[str]
    _keys: dict[str, Key]

    def __init__(self, keys: dict[str, bytes], *, derive_only: Iterable[str] = ()) -> None:
        super().__init__(
            _keys={key_id: Key(raw) for key_id, raw in keys.items()},
            _derive_only=frozenset(derive_only),
        )

    @classmethod
    def from_text(cls, text: str) -> AuditKey:
        """Return the key that :meth:`to_text` wrote.

        :raises InvalidValue: *text* is not such a text.
        """
        try:
            rows = [line.split(".") for line in text.split()]
            keys = {row[0]: bytes.fromhex(row[1]) for row in rows}
            derive_only = [row[0] for row in rows if row[2:] == [DERIVE_ONLY]]
            well_formed = all(row[2:] in ([], [DERIVE_ONLY]) for row in rows)
            if keys and well_formed and all(len(raw) == 32 for raw in keys.values()):
                return cls(keys, derive_only=derive_only)
        except (ValueError, IndexError):
            pass  # its text would carry a part of the key
        rows, keys = [], {}  # error trackers record the locals of a raising frame
        del text
        raise InvalidValue(
            "not an audit key: each line must be an id, a dot and 64 hex digits, and for a"
            f" derive-only master key .{DERIVE_ONLY}"
        )

    def to_text(self) -> str:
        """Return the key as text, one line for each master key. The text is a secret."""
        return "".join(
            f"{key_id}.{reveal(key).hex()}"
            f"{f'.{DERIVE_ONLY}' if key_id in self._derive_only else ''}\n"
            for key_id, key in self._keys.items()
        )

    def check(self, purpose: str, message: bytes, tag: str) -> bool:
        """Return whether *tag* is an auditor's tag of *message*.

        :param purpose: "record" or "event".
        :raises UnknownMasterKey: this key does not cover the master key of the tag, or the tag is
            of a record and its master key is derive-only.
        """
        key_id, _, digest = tag.partition(".")
        key = self._keys.get(key_id)
        if key is None:
            raise UnknownMasterKey("the audit key does not cover the master key of this tag")
        if purpose == "record" and key_id in self._derive_only:
            raise UnknownMasterKey(
                "a record is authenticated under a derive-only master key: the service refuses it"
            )
        expected = mac(key, "sha256", encode_fields(purpose, message)).hex()
        return digest.isascii() and compare_digest(expected, digest)


class KeySources:
    """The key sources of one registry: one for new keys, one for imported keys."""

    def __init__(self, keys: KeySource, imported: KeySource | None, *, authenticate: bool) -> None:
        self._schemes = {source.scheme: source for source in (imported or keys, keys)}
        self.scheme: str = keys.scheme
        self.issue: Final = keys.issue
        self.adopt: Final = (imported or keys).adopt
        self.tag: Final = keys.tag
        self.check: Final = keys.check
        self.audit_tag: Final = keys.audit_tag
        self.authenticate: bool = authenticate

    def reveal(
        self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> Key:
        """Return the key of *ref* from the source of its scheme.

        :raises UnknownMasterKey: the registry has no source for that scheme.
        """
        source = self._schemes.get(ref.scheme)
        if source is None:
            raise UnknownMasterKey(
                f"this registry has no key source for {ref.scheme} keys: pass imported_keys"
            )
        return source.reveal(ref, principal, serial, parameters)


def _problem_with(master_keys: tuple[bytes, ...]) -> InvalidType | InvalidValue | None:
    if not all(isinstance(master_key, bytes) for master_key in master_keys):
        return InvalidType(
            "a master key must be bytes: load it with from_file() or from_env()"
        )
    if min(map(len, master_keys)) < MIN_MASTER_KEY_BYTES:  # ASVS5-11.2.3
        return InvalidValue("a master key must have at least 32 bytes")
    if len(set(master_keys)) != len(master_keys):
        return InvalidValue("a master key must have one role: it was passed twice")
    return None


def _fingerprint(prk: Key) -> str:
    return hkdf_expand(prk, encode_fields("vmfa master key id v1"), 8).hex()
