"""Keys of other systems, encrypted with AES-256-GCM under a master key (extra ``sealing``).

The principal, the serial number and the parameters are the associated data: a sealed key cannot be
decrypted for any other. To rotate the master key, use ``SealedKeys(new, old)`` and
:func:`vmfa.rekey.rekey`.
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

__all__ = ["SealedKeys"]

NONCE_BYTES: Final = 12  # random: a master key seals at most 2**32 keys (NIST SP 800-38D, 8.3)
TAG_BYTES: Final = 16


class SealedKeys(MasterKeys):
    """The key source for imported devices. See :class:`MasterKeys` for the parameters."""

    # RFC4226-7.5-STORE, RFC6238-5.1-STORE
    __slots__ = ()
    scheme = "sealed"

    def issue(
        self, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> tuple[KeyRef, Key]:
        """Return a new random key and the reference that contains it, encrypted."""
        key = Key.generate(parameters.key_size)
        return self.adopt(principal, serial, parameters, key), key

    def adopt(
        self, principal: PrincipalId, serial: str, parameters: Parameters, key: Key
    ) -> KeyRef:
        """Return a reference that contains *key*, encrypted under the current master key."""
        nonce = random_bytes(NONCE_BYTES)  # ASVS5-11.3.4
        bound_to = _binding(self.current_id, principal, serial, parameters)
        # RULE-NO-KEY-STORED, ASVS5-11.3.2
        encrypted = self._cipher(self.current_id).encrypt(nonce, reveal(key), bound_to)
        return KeyRef(scheme=self.scheme, key_id=self.current_id, material=nonce + encrypted)

    def reveal(
        self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> Key:
        """Return the key in *ref*.

        :raises UnknownMasterKey: this process does not have its master key.
        :raises RecordTampered: it was changed, or sealed for another principal, serial or
            parameters.
        """
        cipher = self._cipher(ref.key_id)
        nonce, encrypted = ref.material[:NONCE_BYTES], ref.material[NONCE_BYTES:]
        try:
            if len(encrypted) > TAG_BYTES:
                bound_to = _binding(ref.key_id, principal, serial, parameters)
                raw = cipher.decrypt(nonce, encrypted, bound_to)  # ASVS5-11.3.3
                return (Key if len(raw) >= 16 else UnsafeShortKey)(raw)
        except InvalidTag:
            pass  # refused below, like material that is too short
        # ASVS5-11.2.5
        raise RecordTampered("a sealed key was changed, or was sealed for another device")

    def needs_rekey(self, ref: KeyRef) -> bool:
        """Return whether *ref* contains a key that is encrypted under an earlier master key."""
        return ref.scheme == self.scheme and ref.key_id != self.current_id

    def _cipher(self, key_id: str) -> AESGCM:
        # ASVS5-11.3.1
        return AESGCM(reveal(self.subkey("sealed device key", key_id)))


def _binding(
    key_id: str, principal: PrincipalId, serial: str, parameters: Parameters
) -> bytes:
    """Return everything that a sealed key is bound to. A test vector freezes the encoding."""
    # SEED-BOUND
    return encode_fields(
        "vmfa sealed key v1", key_id, principal.account, principal.kind, principal.name, serial,
        parameters.algorithm, parameters.digits, parameters.period, parameters.t0,
    )
