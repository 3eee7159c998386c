"""``manage.py vmfa_reseal``: authenticate all records under the current master key."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from .....reseal import reseal
from ...registry import get_configuration, get_registry, get_store


class Command(BaseCommand):
    """Authenticate all records under the current master key."""

    help = "Move every record to the current master key, after a rotation."

    def handle(self, *_: Any, **__: Any) -> None:
        """Reseal each record; a record that fails does not stop the others."""
        configuration = get_configuration()
        total = changed = failed = 0
        for result in reseal(
            get_store(), configuration.account, keys=get_registry().operations.keys
        ):
            total += 1
            changed += result.changed
            if result.problem:
                failed += 1
                self.stdout.write(f"{result.principal}: {result.problem}")
        self.stdout.write(f"{changed} of {total} records were resealed")
        if failed:
            raise CommandError(f"{failed} records could not be resealed")
