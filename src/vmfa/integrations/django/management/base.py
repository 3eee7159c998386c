"""What the management commands share."""

from __future__ import annotations

from collections.abc import Iterator

from ....models import PrincipalId
from ....registry import DeviceRegistry

PAGE = 1000


def principals_of(registry: DeviceRegistry, account: str) -> Iterator[PrincipalId]:
    """Yield every principal of *account* that has a record."""
    page = registry.principals(account, limit=PAGE)
    while page:
        yield from page
        page = registry.principals(account, after=page[-1], limit=PAGE)
