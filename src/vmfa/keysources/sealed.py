"""Keys that come from outside, stored sealed: AES-256-GCM under a master key (extra ``sealing``).

RFC4226-7.5-STORE, RFC6238-5.1-STORE. A sealed key opens for the principal, serial number and parameters it was
sealed for, and for nothing else (SEED-BOUND): they are the associated data. Rotate the master key with
``SealedKeys(new, old)`` and :func:`rekey`.
"""

from __future__ import annotations

from typing import Final

from ..errors import MissingExtra, RecordTampered
from ..keys import Key, UnsafeShortKey, encode_fields, random_bytes, reveal
from ..models import KeyRef, PrincipalId
from ..policy import Parameters
from .base import MasterKeys

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    raise MissingExtra("sealed keys need the extra sealing: pip install 'vmfa[sealing]'") from None

NONCE: Final = 12  # bytes, random: a master key seals at most 2**32 keys (NIST SP 800-38D, 8.3)
TAG: Final = 16


class SealedKeys(MasterKeys):
    """The source for imported keys. It issues keys as well, for whoever must not derive them.

    :raises UnknownMasterKey: a key was sealed under a master key that is not here.
    :raises RecordTampered: a sealed key was changed, or moved to another principal, serial or parameters.
    """

    __slots__ = ()
    scheme = "sealed"

    def issue(self, principal: PrincipalId, serial: str, parameters: Parameters) -> tuple[KeyRef, Key]:
        key = Key.generate(parameters.key_size)
        return self.adopt(principal, serial, parameters, key), key

    def adopt(self, principal: PrincipalId, serial: str, parameters: Parameters, key: Key) -> KeyRef:
        nonce = random_bytes(NONCE)
        bound = _binding(self.current_id, principal, serial, parameters)
        box = self._cipher(self.current_id).encrypt(nonce, reveal(key), bound)
        return KeyRef(scheme=self.scheme, key_id=self.current_id, material=nonce + box)

    def reveal(self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters) -> Key:
        cipher = self._cipher(ref.key_id)
        nonce, box = ref.material[:NONCE], ref.material[NONCE:]
        try:
            if len(box) > TAG:
                opened = cipher.decrypt(nonce, box, _binding(ref.key_id, principal, serial, parameters))
                return (Key if len(opened) >= 16 else UnsafeShortKey)(opened)
        except InvalidTag:
            pass  # refused below, with the material that is too short to be a sealed key
        raise RecordTampered("a sealed key was changed, or was sealed for another device")

    def needs_rekey(self, ref: KeyRef) -> bool:
        """Whether *ref* is a key sealed under a retired master key."""
        return ref.scheme == self.scheme and ref.key_id != self.current_id

    def _cipher(self, key_id: str) -> AESGCM:
        return AESGCM(reveal(self.subkey("sealed device key", key_id)))


def _binding(key_id: str, principal: PrincipalId, serial: str, parameters: Parameters) -> bytes:
    """All that a sealed key is bound to, frozen by a vector in ``tests/sealing``."""
    return encode_fields(
        "vmfa sealed key v1", key_id, principal.account, principal.kind, principal.name, serial,
        parameters.algorithm, parameters.digits, parameters.period, parameters.t0,
    )
