"""Where the keys of devices come from: derived from a master key, so that no store ever holds one.

RFC4226-7.5-DET, RFC6238-3-R2, RFC6238-3-R6: a device's key is HKDF-SHA-256 (RFC 5869) of a master key and of
everything the key is bound to, under a version label, each field prefixed by its length. The same master keys
authenticate the stored records and chain the history.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import Final, Protocol

from ..errors import InvalidType, InvalidValue, UnknownMasterKey
from ..keys import Key, Opaque, encode_fields, hkdf_expand, hkdf_extract, mac
from ..models import KeyRef, PrincipalId
from ..policy import Parameters

__all__ = ["KeySource"]


class RecordAuthenticator(Protocol):
    """Authenticates what is stored. ``sealing`` is False only where records never leave the process."""

    authenticate: bool

    def tag(self, purpose: str, message: bytes) -> str: ...

    def check(self, purpose: str, message: bytes, tag: str) -> bool: ...


class KeySource(RecordAuthenticator, Protocol):
    """Issues, adopts and reveals the keys of devices. No I/O."""

    scheme: str

    def issue(self, principal: PrincipalId, serial: str, parameters: Parameters) -> tuple[KeyRef, Key]: ...

    def adopt(self, principal: PrincipalId, serial: str, parameters: Parameters, key: Key) -> KeyRef: ...

    def reveal(self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters) -> Key: ...


class MasterKeys(Opaque):
    """The current master key, for all that is new, and retired ones, for what was made under them.

    A master key is at least 32 random bytes. Its id is a fingerprint of it, so that wrong bytes are
    :class:`UnknownMasterKey` and never a wrong code. ``current_id`` is that of the current one.
    """

    __slots__ = ("_prks", "_subkeys", "current_id")
    current_id: str
    _prks: dict[str, Key]
    _subkeys: dict[tuple[str, str], Key]
    scheme: str
    authenticate = True

    def __init__(self, current: bytes, *retired: bytes) -> None:
        masters = (current, *retired)
        problem: InvalidType | InvalidValue | None = None
        if not all(isinstance(master, bytes) for master in masters):
            problem = InvalidType("a master key is bytes")
        elif min(map(len, masters)) < 32:
            problem = InvalidValue("a master key has at least 32 bytes")
        if problem is not None:
            del current, retired, masters  # error trackers record the locals of a raising frame
            raise problem
        prks = [Key(hkdf_extract(b"vmfa", master)) for master in masters]
        ids = [hkdf_expand(prk, encode_fields("vmfa master key id v1"), 8).hex() for prk in prks]
        super().__init__(_prks=dict(zip(ids, prks, strict=True)), current_id=ids[0], _subkeys={})

    def subkey(self, purpose: str, key_id: str) -> Key:
        """32 bytes for one *purpose*, of the master key with this id."""
        found = self._subkeys.get((purpose, key_id))
        if found is None:
            prk = self._prk(key_id)
            info = encode_fields("vmfa subkey v1", purpose, key_id)
            found = self._subkeys[purpose, key_id] = Key(hkdf_expand(prk, info, 32))
        return found

    def tag(self, purpose: str, message: bytes) -> str:
        """The authentication of *message*: the id of the current master key, and an HMAC-SHA-256."""
        return f"{self.current_id}.{mac(self.subkey(purpose, self.current_id), 'sha256', message).hex()}"

    def check(self, purpose: str, message: bytes, tag: str) -> bool:
        """Whether *tag* is ours for *message*.

        :raises UnknownMasterKey: it was made under a master key that is not here.
        """
        key_id, _, told = tag.partition(".")
        if len(key_id) != 16 or not told.isascii():
            return False
        return compare_digest(mac(self.subkey(purpose, key_id), "sha256", message).hex(), told)

    def _prk(self, key_id: str) -> Key:
        prk = self._prks.get(key_id)
        if prk is None:
            raise UnknownMasterKey("a record was made under a master key that this process was not given")
        return prk


class KeySources:
    """What a registry uses: new keys from one source, foreign keys in another, each read by its scheme."""

    def __init__(self, keys: KeySource, imported: KeySource | None, *, authenticate: bool) -> None:
        self._schemes = {source.scheme: source for source in (imported or keys, keys)}
        self.scheme: str = keys.scheme
        self.issue: Final = keys.issue
        self.adopt: Final = (imported or keys).adopt
        self.tag: Final = keys.tag
        self.check: Final = keys.check
        self.authenticate: bool = authenticate

    def reveal(self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters) -> Key:
        source = self._schemes.get(ref.scheme)
        if source is None:
            raise UnknownMasterKey(f"this registry was given no source for {ref.scheme} keys")
        return source.reveal(ref, principal, serial, parameters)
