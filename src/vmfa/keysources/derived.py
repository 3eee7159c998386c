"""Device keys that are derived from a master key and never stored."""

from __future__ import annotations

from ..errors import InvalidValue
from ..keys import Key, encode_fields, hkdf_expand, random_bytes
from ..models import KeyRef, PrincipalId
from ..policy import Parameters
from .base import MasterKeys

__all__ = ["DerivedKeys"]


class DerivedKeys(MasterKeys):
    """Keys that are derived and never stored: the default. The reference holds a nonce, and no key."""

    __slots__ = ()
    scheme = "derived"

    def issue(self, principal: PrincipalId, serial: str, parameters: Parameters) -> tuple[KeyRef, Key]:
        ref = KeyRef(scheme=self.scheme, key_id=self.current_id, material=random_bytes(16))  # RFC4226-5.1-K, RFC6238-3-R5: no two alike
        return ref, self.reveal(ref, principal, serial, parameters)

    def adopt(self, principal: PrincipalId, serial: str, parameters: Parameters, key: Key) -> KeyRef:
        del key
        raise InvalidValue("derived keys cannot adopt a foreign key: give the registry imported_keys")

    def reveal(self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters) -> Key:
        info = key_binding(ref, principal, serial, parameters)
        return Key(hkdf_expand(self._prk(ref.key_id), info, parameters.key_size))


def key_binding(ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters) -> bytes:
    """All that a device's key is bound to (SEED-BOUND, RULE-KEY-BOUND), frozen by the vectors in ``tests``."""
    return encode_fields("vmfa device key v1", ref.key_id, ref.material, principal.account, principal.kind,
                         principal.name, serial, parameters.algorithm, parameters.digits, parameters.period,
                         parameters.t0)
