"""The admin: records and histories to read, and what the permission matrix lets you do.

A member of staff acts as an administrator of the account, with the claim in their session.
Without a current claim the pages show no device and no history, and offer no action.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _, gettext_lazy

from ...access import ON_USERS, Actor, Relationship
from ...errors import VmfaError
from ...lifecycle import Action, state_of
from ...models import Kind, PrincipalId
from .models import PrincipalRecord
from .registry import get_configuration, get_registry, get_store
from .sessions import actor_of, has_mfa, source_of

PAGE: Final = 1000  # events


def _deactivate(principal: PrincipalId, by: Actor, source: str) -> tuple[str, str]:
    removed = get_registry().deactivate(
        principal, by=by, reason="by an administrator", source=source
    )
    return _("the device was deactivated"), removed.binding_code or ""


def _issue_binding_code(principal: PrincipalId, by: Actor, source: str) -> tuple[str, str]:
    issued = get_registry().issue_binding_code(principal, by=by, source=source)
    return _("a new binding code was issued"), issued.code


def _restore_budget(principal: PrincipalId, by: Actor, source: str) -> tuple[str, str]:
    get_registry().restore_budget(principal, by=by, source=source)
    return _("the guess budget was restored"), ""


Operation = Callable[[PrincipalId, Actor, str], tuple[str, str]]
# By name: the action of the matrix, the title (a lazy translation), the operation.
OPERATIONS: Final[dict[str, tuple[Action, Any, Operation]]] = {
    "deactivate": (Action.DEACTIVATE, gettext_lazy("Deactivate the devices"), _deactivate),
    "issue_binding_code": (
        Action.ISSUE_BINDING_CODE, gettext_lazy("Issue new binding codes"), _issue_binding_code
    ),
    "restore_budget": (
        Action.RESTORE_BUDGET, gettext_lazy("Restore the guess budgets"), _restore_budget
    ),
}


def _action(name: str, title: Any, operation: Operation) -> Callable[..., HttpResponse]:
    """Return the admin action that calls *operation* for each selected record."""

    @admin.action(description=title, permissions=["manage"])
    def run(
        model_admin: PrincipalAdmin, request: HttpRequest, rows: QuerySet[PrincipalRecord]
    ) -> HttpResponse:
        by, source = actor_of(request, admin=True), source_of(request)
        results: list[tuple[PrincipalId, str, str]] = []
        for row in rows:
            principal = _principal_in(row)
            try:
                results.append((principal, *operation(principal, by, source)))
            except VmfaError as error:
                results.append((principal, str(error), ""))
        context = {**model_admin.admin_site.each_context(request), "title": title}
        response = TemplateResponse(
            request, "vmfa/results.html", {**context, "results": results}
        )
        response["Cache-Control"] = "no-store"  # it may show binding codes
        return response

    run.__name__ = name
    return run


@admin.register(PrincipalRecord)
class PrincipalAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Principals: to read, and to act on with a second factor."""

    list_display = ("account", "kind", "name", "revision")
    list_filter = ("kind",)
    search_fields = ("=name",)
    ordering = ("account", "kind", "name")
    fields = ("account", "kind", "name", "revision")
    actions = tuple(
        _action(name, title, operation)
        for name, (action, title, operation) in OPERATIONS.items()
        if Relationship.ADMIN in ON_USERS[action]
    )
    change_form_template = "vmfa/principal.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: the owner of a device enrolls it."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: a row that is changed here is not a record of vmfa any more."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: ``registry.forget()`` removes a record."""
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the records, from the database that vmfa writes to."""
        return super().get_queryset(request).using(get_store().alias)

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """Return whether the actions are offered: the registry decides about each principal."""
        user: Any = request.user
        return user.has_perm("vmfa.change_principalrecord") and _has_current_mfa(request)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a record, with the device and the history that the viewer may read."""
        row = self.get_object(request, object_id)
        details = {}
        if row is not None and self.has_view_permission(request, row):
            details = _details(request, _principal_in(row))
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), **details}
        )


def _has_current_mfa(request: HttpRequest) -> bool:
    return has_mfa(request, max_age=get_configuration().policy.claim_seconds)


def _principal_in(row: PrincipalRecord) -> PrincipalId:
    return PrincipalId(account=row.account, kind=Kind(row.kind), name=row.name)


def _details(request: HttpRequest, principal: PrincipalId) -> dict[str, Any]:
    """Return what the registry lets this member of staff read."""
    registry = get_registry()
    by, source = actor_of(request, admin=True), source_of(request)
    try:
        record = registry.run(registry.operations.record(principal, by=by, source=source))
        events = registry.history(principal, by=by, limit=PAGE, source=source)
    except VmfaError as error:
        return {"vmfa_problem": str(error)}
    return {
        "vmfa_state": state_of(record),
        "vmfa_device": record.device,
        "vmfa_history": [(datetime.fromtimestamp(event.at, UTC), event) for event in events],
    }
