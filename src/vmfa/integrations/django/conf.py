"""The setting ``VMFA``, checked and with its defaults."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from ...keysources.base import KeySource
from ...models import PrincipalId
from ...policy import Policy

REQUIRED: Final = ("ACCOUNT", "ISSUER", "KEYS")
OPTIONAL: Final = (
    "CLOCK", "CODE_URL", "DATABASE", "ENROLL_URL", "IMPORTED_KEYS", "POLICY", "PRINCIPAL",
)


class Configuration:
    """What the setting ``VMFA`` says.

    :raises ImproperlyConfigured: a key is missing, unknown, or has a value of the wrong type.
    """

    def __init__(self) -> None:
        given = getattr(settings, "VMFA", None)
        problems = problems_of(given)
        if problems:
            raise ImproperlyConfigured(problems[0])
        values: Mapping[str, Any] = given or {}
        self.account: str = values["ACCOUNT"]
        self.issuer: str = values["ISSUER"]
        self.keys: KeySource = values["KEYS"]
        self.imported_keys: KeySource | None = values.get("IMPORTED_KEYS")
        self.policy: Policy = values.get("POLICY") or Policy()
        self.database: str | None = values.get("DATABASE")
        self.clock: Callable[[], float] = values.get("CLOCK", time.time)
        self.code_url: str | None = values.get("CODE_URL")
        self.enroll_url: str | None = values.get("ENROLL_URL")
        principal = values.get("PRINCIPAL")
        self.principal: Callable[[Any], PrincipalId] = (
            import_string(principal) if isinstance(principal, str) else principal or self._user
        )

    def _user(self, user: Any) -> PrincipalId:
        return PrincipalId.user(self.account, str(user.pk))


def problems_of(given: object) -> list[str]:
    """Return what is wrong with the setting, one sentence each. No sentence quotes a value."""
    if not isinstance(given, Mapping):
        return ["the setting VMFA is missing: set VMFA = {'KEYS': ..., 'ISSUER': ..., ...}"]
    problems = [f"VMFA[{name!r}] is missing" for name in REQUIRED if name not in given]
    problems += [
        f"VMFA has an unknown key {name!r}: use {', '.join((*REQUIRED, *OPTIONAL))}"
        for name in given
        if name not in (*REQUIRED, *OPTIONAL)
    ]
    for name, kind in (
        ("ACCOUNT", str), ("ISSUER", str), ("DATABASE", str), ("CODE_URL", str),
        ("ENROLL_URL", str), ("POLICY", Policy),
    ):
        if name in given and not isinstance(given[name], kind):
            problems.append(f"VMFA[{name!r}] must be of type {kind.__name__}")
    for name in ("KEYS", "IMPORTED_KEYS"):
        if name in given and not callable(getattr(given[name], "reveal", None)):
            problems.append(
                f"VMFA[{name!r}] must be a key source, such as vmfa.DerivedKeys(master_key)"
            )
    return problems
