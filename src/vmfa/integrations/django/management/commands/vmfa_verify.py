"""``manage.py vmfa_verify``: verify the histories of all principals."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from .....access import Actor
from .....audit import verify_history
from ...registry import get_configuration, get_registry, get_store


class Command(BaseCommand):
    """Verify the histories of all principals."""

    help = "Check every record and every history: nothing was edited, removed or moved."

    def handle(self, *_: Any, **__: Any) -> None:
        """Print every history that is not intact; fail if there is one."""
        configuration = get_configuration()
        total = broken = 0
        for result in verify_history(
            get_store(), configuration.account, operations=get_registry().operations,
            by=Actor.support("manage.py vmfa_verify"), clock=configuration.clock,
        ):
            total += 1
            if result.problem:
                broken += 1
                self.stdout.write(f"{result.principal}: {result.problem}")
        if broken:
            raise CommandError(f"{broken} of {total} histories are not intact")
        self.stdout.write(f"{total} histories are intact")
