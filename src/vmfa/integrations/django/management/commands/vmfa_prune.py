"""``manage.py vmfa_prune``: remove the personal content of old events."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from .....access import Actor
from .....errors import VmfaError
from ...registry import get_configuration, get_registry
from ..base import principals_of

DAY = 86400  # seconds


class Command(BaseCommand):
    """Remove the content of old events; the chain of digests stays."""

    help = "Redact the events that are older than a number of days. Histories stay verifiable."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the age."""
        parser.add_argument("days", type=int, help="keep the events of this many days")

    def handle(self, *_: Any, days: int, **__: Any) -> None:
        """Prune each history; a history that fails does not stop the others."""
        if days < 1:
            raise CommandError("days must be at least 1")
        configuration, registry = get_configuration(), get_registry()
        by = Actor.trusted_service("manage.py vmfa_prune")
        older_than = int(configuration.clock()) - days * DAY
        redacted = failed = 0
        for principal in principals_of(registry, configuration.account):
            try:
                redacted += registry.prune_history(principal, by=by, older_than=older_than)
            except VmfaError as error:
                failed += 1
                self.stdout.write(f"{principal}: {error}")
        self.stdout.write(f"{redacted} events were redacted")
        if failed:
            raise CommandError(f"{failed} histories could not be pruned")
