"""System checks: what ``manage.py check`` says about the setting and the database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.connection import ConnectionDoesNotExist

from ...errors import VmfaError
from .conf import problems_of
from .registry import get_registry, get_store


@register(Tags.security)
def check_settings(**_: Any) -> list[CheckMessage]:
    """Check the setting ``VMFA`` by building the registry from it."""
    problems = problems_of(getattr(settings, "VMFA", None))
    if not problems:
        try:
            get_registry()
        except (VmfaError, ImportError, ImproperlyConfigured) as error:
            problems = [str(error)]
    return [Error(problem, id="vmfa.E001") for problem in problems]


@register(Tags.security)
def check_transactions(**_: Any) -> list[CheckMessage]:
    """Check that no transaction of the project encloses what vmfa does."""
    if problems_of(getattr(settings, "VMFA", None)):
        return []
    alias = get_store().alias
    try:
        database = connections[alias].settings_dict
    except ConnectionDoesNotExist:
        return [Error(f"DATABASES has no alias {alias!r}, which vmfa uses", id="vmfa.E002")]
    problems: list[CheckMessage] = []
    if database["ATOMIC_REQUESTS"]:
        problems.append(Error(
            f"ATOMIC_REQUESTS is on for the database {alias!r}, which vmfa uses: a view that "
            "fails would take back a counted failure, so vmfa refuses to run there.",
            hint=(
                "Give vmfa an alias of its own, for the same database and without "
                "ATOMIC_REQUESTS, and name it in VMFA['DATABASE']."
            ),
            id="vmfa.E003",
        ))
    if not database["AUTOCOMMIT"]:
        problems.append(Error(
            f"AUTOCOMMIT is off for the database {alias!r}, which vmfa uses: vmfa refuses to run "
            "in a transaction that it did not begin.",
            id="vmfa.E004",
        ))
    isolation = str(database["OPTIONS"].get("isolation_level", "")).replace("_", " ").lower()
    if isolation.endswith("read uncommitted"):
        problems.append(Error(
            f"isolation_level is READ UNCOMMITTED for the database {alias!r}: vmfa would answer "
            "from changes that are never committed. Use READ COMMITTED.",
            id="vmfa.E005",
        ))
    return problems


@register(Tags.database)
def check_database(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Check the tables and the settings of the database, with ``check --database ALIAS``."""
    if problems_of(getattr(settings, "VMFA", None)):
        return []
    store = get_store()
    if store.alias not in (databases or ()):
        return []
    return [
        Error(str(fault), id="vmfa.E006")
        for fault in store.health()
        if "manage.py migrate" not in str(fault)  # this check runs before each migration
    ]
