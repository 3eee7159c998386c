"""The tables. Use the registry to read and change them: a changed row is refused as tampered.

The columns are those of every store. There is no foreign key to the users of the project, so
that the history survives the user until :meth:`vmfa.DeviceRegistry.forget`.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy

from .fields import NameField


class PrincipalRecord(models.Model):
    """The record of one principal, as :func:`vmfa.record.columns` returns it."""

    account = NameField(max_length=512)
    kind = NameField(max_length=8)
    name = NameField(max_length=512, blank=True)
    revision = models.BigIntegerField()
    state = models.TextField()
    tag = models.CharField(max_length=128)
    audit_tag = models.CharField(max_length=128)

    class Meta:
        verbose_name = gettext_lazy("principal")
        default_permissions = ("view", "change")
        constraints = (
            models.UniqueConstraint(
                fields=("account", "kind", "name"), name="vmfa_one_record_per_principal"
            ),
        )

    def __str__(self) -> str:
        return f"{self.account}/{self.kind}/{self.name}"


class StoredEvent(models.Model):
    """One event of a history, as :meth:`vmfa.AuditEvent.columns` returns it."""

    account = NameField(max_length=512)
    kind = NameField(max_length=8)
    name = NameField(max_length=512, blank=True)
    number = models.BigIntegerField()
    document = models.TextField(null=True)  # null: the event was redacted
    salt = models.CharField(max_length=64, null=True)
    content_digest = models.CharField(max_length=64)
    digest = models.CharField(max_length=64)
    redactable = models.SmallIntegerField()
    audit_tag = models.CharField(max_length=128)

    class Meta:
        verbose_name = gettext_lazy("event")
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(
                fields=("account", "kind", "name", "number"), name="vmfa_one_event_per_number"
            ),
        )

    def __str__(self) -> str:
        return f"{self.account}/{self.kind}/{self.name} {self.number}"
