"""``manage.py vmfa_health``: check the tables and the settings of the database."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...registry import get_store


class Command(BaseCommand):
    """Check the tables and the settings of the database."""

    help = "Check that the database of vmfa is durable and has the tables of this release."

    def handle(self, *_: Any, **__: Any) -> None:
        """Print what is wrong; fail if anything is."""
        store = get_store()
        faults = store.health()
        for fault in faults:
            self.stdout.write(f"{fault.reason}: {fault}")
        if faults:
            raise CommandError(f"{len(faults)} problems in the database {store.alias!r}")
        self.stdout.write(f"the database {store.alias!r} is as vmfa needs it")
