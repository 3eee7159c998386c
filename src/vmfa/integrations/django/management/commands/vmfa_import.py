"""``manage.py vmfa_import``: adopt the devices in the tables of django-otp or django-allauth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from .....access import Actor
from .....errors import InvalidValue
from .....importers import django_allauth, django_otp
from .....importers.base import Item, Items, Principals, Status, adopt_all
from .....importers.dry_run import DryRunStore
from .....models import PrincipalId
from .....policy import Parameters
from .....registry import DeviceRegistry
from ...registry import get_configuration, get_registry, get_store
from ...sessions import principal_of


class Command(BaseCommand):
    """Adopt the devices in the tables of another app."""

    help = (
        "Adopt the TOTP devices of django-otp or django-allauth, in place. "
        "The tables of the other app are read and not changed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the other app and the options."""
        parser.add_argument("system", choices=("django-otp", "django-allauth"))
        parser.add_argument("--dry-run", action="store_true", help="store nothing")
        parser.add_argument(
            "--unsafe-short-keys", action="store_true",
            help="import keys below 128 bits, against RFC 4226",
        )

    def handle(
        self, *_: Any, system: str, dry_run: bool, unsafe_short_keys: bool, **__: Any
    ) -> None:
        """Adopt each device, and print what happened to it."""
        configuration = get_configuration()
        if configuration.imported_keys is None:
            raise CommandError(
                "VMFA['IMPORTED_KEYS'] is missing: set it to vmfa.keysources.sealed."
                "SealedKeys(master_key), which encrypts the keys of other systems"
            )
        read = _otp_items if system == "django-otp" else _allauth_items
        registry = get_registry() if not dry_run else DeviceRegistry(
            DryRunStore(get_store()), keys=configuration.keys, issuer=configuration.issuer,
            imported_keys=configuration.imported_keys, policy=configuration.policy,
            clock=configuration.clock,
        )
        counts: Counter[Status] = Counter()
        for outcome in adopt_all(
            registry, Items(lambda: read(unsafe_short_keys)),
            by=Actor.trusted_service("manage.py vmfa_import"),
            principals=_Users(account=configuration.account),
        ):
            counts[outcome.status] += 1
            text = "; ".join(filter(None, (outcome.reason, *outcome.notes)))
            line = f"{outcome.where}, user {outcome.owner}: {outcome.status}"
            self.stdout.write(f"{line}: {text}" if text else line)
        total = ", ".join(f"{counts[status]} {status}" for status in Status)
        self.stdout.write(f"dry run: {total}" if dry_run else total)
        if counts[Status.REFUSED] or counts[Status.CONFLICT]:
            raise CommandError("some devices were not imported")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Users(Principals):
    """Maps the primary keys of users to principals, as the project does."""

    def of(self, owner: str) -> PrincipalId:
        """Return the principal of the user with this primary key.

        :raises InvalidValue: there is no such user.
        """
        users: Any = get_user_model()
        try:
            user = users._default_manager.filter(pk=owner).first()  # noqa: SLF001  # documented
        except (ValueError, TypeError):
            user = None
        if user is None:
            raise InvalidValue("there is no user with this primary key")
        return principal_of(user)


def _rows(app: str, model: str, name: str) -> Iterator[dict[str, Any]]:
    if not apps.is_installed(app):
        raise CommandError(f"{app} is not in INSTALLED_APPS, so its tables cannot be read")
    table: Any = apps.get_model(model, name)
    rows: Iterator[dict[str, Any]] = (
        table._default_manager.order_by("pk").values().iterator()  # noqa: SLF001  # documented
    )
    return rows


def _otp_items(unsafe_short_keys: bool) -> Iterator[Item]:
    for row in _rows("django_otp.plugins.otp_totp", "otp_totp", "TOTPDevice"):
        yield from django_otp.entries([row], unsafe_short_keys=unsafe_short_keys)


def _allauth_items(unsafe_short_keys: bool) -> Iterator[Item]:
    rows = _rows("allauth.mfa", "mfa", "Authenticator")
    from allauth.mfa import app_settings
    from allauth.mfa.adapter import get_adapter

    parameters = Parameters(digits=app_settings.TOTP_DIGITS, period=app_settings.TOTP_PERIOD)
    for row in rows:
        if row["type"] == "totp":  # recovery codes and security keys stay where they are
            yield from django_allauth.entries(
                [row], unsafe_short_keys=unsafe_short_keys, decrypt=get_adapter().decrypt,
                parameters=parameters,
            )
