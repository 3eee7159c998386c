"""The registry of the project."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.core.signals import setting_changed
from django.dispatch import receiver

from ...events import AuditEvent
from ...registry import DeviceRegistry
from .conf import Configuration
from .signals import audit_event
from .store import DjangoStore


@cache
def get_configuration() -> Configuration:
    """Return what the setting ``VMFA`` says.

    :raises ImproperlyConfigured: the setting is missing or wrong.
    """
    return Configuration()


@cache
def get_store() -> DjangoStore:
    """Return the store that the registry uses."""
    return DjangoStore(get_configuration().database)


@cache
def get_registry() -> DeviceRegistry:
    """Return the registry that the setting ``VMFA`` describes, always the same one.

    In an asynchronous view, call its methods in Django's thread for synchronous code:
    ``await sync_to_async(get_registry().verify)(principal, code)``.

    :raises ImproperlyConfigured: the setting is missing or wrong.
    """
    configuration = get_configuration()
    return DeviceRegistry(
        get_store(),
        keys=configuration.keys,
        issuer=configuration.issuer,
        imported_keys=configuration.imported_keys,
        policy=configuration.policy,
        clock=configuration.clock,
        observer=_send,
    )


def _send(event: AuditEvent) -> None:
    audit_event.send_robust(sender=AuditEvent, event=event)


@receiver(setting_changed)
def _forget_settings(*, setting: str, **_: Any) -> None:
    """Read the setting again, after a test changed it."""
    if setting == "VMFA":
        for cached in (get_configuration, get_store, get_registry):
            cached.cache_clear()
