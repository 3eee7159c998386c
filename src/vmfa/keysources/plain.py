"""Device keys that are stored without encryption, for tests only."""

from __future__ import annotations

from ..keys import Key, UnsafeShortKey, reveal
from ..models import KeyRef, PrincipalId
from ..policy import Parameters
from .base import MasterKeys

__all__ = ["UnsafePlainKeys"]


class UnsafePlainKeys(MasterKeys):
    """Stores keys without encryption: anyone who reads the store can compute every code."""

    __slots__ = ()
    scheme = "plain"

    def __init__(self) -> None:
        super().__init__(b"vmfa: unsafe, published, for tests")

    def issue(
        self, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> tuple[KeyRef, Key]:
        """Return a new random key and the reference that contains it."""
        key = Key.generate(parameters.key_size)
        return self.adopt(principal, serial, parameters, key), key

    def adopt(
        self, principal: PrincipalId, serial: str, parameters: Parameters, key: Key
    ) -> KeyRef:
        """Return a reference that contains *key*."""
        return KeyRef(scheme=self.scheme, key_id="", material=reveal(key))

    def reveal(
        self, ref: KeyRef, principal: PrincipalId, serial: str, parameters: Parameters
    ) -> Key:
        """Return the key in *ref*."""
        return (Key if len(ref.material) >= 16 else UnsafeShortKey)(ref.material)
