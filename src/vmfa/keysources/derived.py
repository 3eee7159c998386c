"""Device keys that are derived from a master key and never stored.

A device's key is HKDF-SHA-256 (RFC 5869) of the master key and of everything that the key is bound
to, under a version label (RFC 4226 section 7.5). The stored reference holds only a random nonce.
"""

from __future__ import annotations

from ..errors import InvalidValue
from ..keys import Key, encode_fields, hkdf_expand, random_bytes
from ..models import KeyRef, PrincipalId
from ..policy import Parameters
from .base import MasterKeys

__all__ = ["DerivedKeys"]


class DerivedKeys(MasterKeys):
    """The default key source: the store contains no key.

    See :class:`MasterKeys` for the parameters.
    """

    __slots__ = ()
    scheme = "derived"

    def issue(
        self, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> tuple[KeyRef, Key]:
        """Return a new key and its reference."""
        # RFC4226-5.1-K, RFC6238-3-R5, RULE-NO-KEY-STORED
        ref = KeyRef(scheme=self.scheme, key_id=self.current_id, material=random_bytes(16))
        return ref, self.reveal(ref, principal, serial, parameters)

    def adopt(
        self, principal: PrincipalId, serial: str, parameters: Parameters, key: Key
    ) -> KeyRef:
        """Refuse the key of another system, because it cannot be derived.

        :raises InvalidValue: always.
        """
        del key
        raise InvalidValue("derived keys cannot adopt another system's key: pass imported_keys")

    def reveal(
        self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> Key:
        """Return the key of *ref*.

        :raises UnknownMasterKey: this process does not have its master key.
        """
        # RFC4226-7.5-DET, RFC6238-3-R2, RFC6238-3-R6
        info = key_binding(ref, principal, serial, parameters)
        # RFC6238-3-R2, RFC6238-3-R6
        return Key(hkdf_expand(self._prk(ref.key_id), info, parameters.key_size))


def key_binding(
    ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters
) -> bytes:
    """Return everything that a derived key is bound to. Test vectors freeze the encoding."""
    # SEED-BOUND, RULE-KEY-BOUND
    return encode_fields(
        "vmfa device key v1", ref.key_id, ref.material, principal.account, principal.kind,
        principal.name, serial, parameters.algorithm, parameters.digits, parameters.period,
        parameters.t0,
    )
