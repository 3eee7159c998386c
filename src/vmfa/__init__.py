"""Virtual MFA devices: one-time codes (RFC 4226, RFC 6238) and the rules of assigning a device.

A device is assigned to one person by two consecutive codes. A code is accepted once, guesses are
throttled and limited by a budget, and a lost or drifting phone can be replaced or resynchronized.
vmfa has no runtime dependencies.

Most services need these names::

    from vmfa import Actor, DerivedKeys, DeviceRegistry, PrincipalId, SQLiteStore

    registry = DeviceRegistry(
        SQLiteStore("mfa.db"), keys=DerivedKeys(master_key), issuer="Example"
    )
    alice = PrincipalId.user("main", "u-4711")       # stored identifiers
    me = Actor.signed_in(alice)                      # after the first factor
    opened = registry.open_enrollment(alice, by=me, label="alice@example.com")
    opened.base32, opened.uri                        # shown once
    registry.confirm_enrollment(
        alice, session=opened.session_id, code1=first, code2=second, by=me
    )
    receipt = registry.verify(alice, code)           # or an error that says what to do

``totp``, ``hotp``, ``verify_totp``, ``verify_hotp``, ``step_at``, ``seconds_left`` and
``next_step_at`` are the stateless RFC functions. ``Operations`` is for a service that stores the
records in its own transaction. Every error is a ``VmfaError``; see ``vmfa.errors``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # for type checkers and IDEs; each module's __all__ lists its public names
    from .access import *
    from .decision import *
    from .errors import *
    from .events import *
    from .keys import *
    from .keysources.base import *
    from .keysources.derived import *
    from .keysources.plain import *
    from .models import *
    from .operations import *
    from .otp import *
    from .policy import *
    from .registry import *
    from .self_test import *
    from .stores.base import *
    from .stores.memory import *
    from .stores.sqlite import *

_MODULES = (  # in the order of their imports, so that a name loads no more than it needs
    "errors", "keys", "otp", "policy", "models", "events", "keysources.base",
    "keysources.derived", "keysources.plain", "access", "decision", "operations", "stores.base",
    "registry", "stores.memory", "stores.sqlite", "self_test",
)

if not TYPE_CHECKING:  # pragma: no branch  # or a type checker would accept every name

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used (PEP 562)."""
        from importlib import import_module

        if name in _MODULES:
            return import_module(f".{name}", __name__)
        if name == "__all__":
            return __dir__()
        if not name.startswith("_"):
            for module_name in _MODULES:
                module = import_module(f".{module_name}", __name__)
                if name in module.__all__:
                    value = globals()[name] = getattr(module, name)
                    return value
        raise AttributeError(f"module 'vmfa' has no attribute {name!r}")

    def __dir__() -> list[str]:
        from importlib import import_module

        modules = (import_module(f".{name}", __name__) for name in _MODULES)
        return sorted(name for module in modules for name in module.__all__)
