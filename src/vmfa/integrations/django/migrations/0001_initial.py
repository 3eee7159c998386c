"""Create the tables."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models

from vmfa.integrations.django.fields import NameField


class Migration(migrations.Migration):
    """The tables of schema version 1."""

    initial = True
    dependencies: ClassVar = []
    operations: ClassVar = [
        migrations.CreateModel(
            name="PrincipalRecord",
            fields=[
                ("id", models.BigAutoField(
                    auto_created=True, primary_key=True, serialize=False, verbose_name="ID",
                )),
                ("account", NameField(max_length=512)),
                ("kind", NameField(max_length=8)),
                ("name", NameField(blank=True, max_length=512)),
                ("revision", models.BigIntegerField()),
                ("state", models.TextField()),
                ("tag", models.CharField(max_length=128)),
                ("audit_tag", models.CharField(max_length=128)),
            ],
            options={
                "verbose_name": "principal",
                "default_permissions": ("view", "change"),
                "constraints": [models.UniqueConstraint(
                    fields=("account", "kind", "name"), name="vmfa_one_record_per_principal",
                )],
            },
        ),
        migrations.CreateModel(
            name="StoredEvent",
            fields=[
                ("id", models.BigAutoField(
                    auto_created=True, primary_key=True, serialize=False, verbose_name="ID",
                )),
                ("account", NameField(max_length=512)),
                ("kind", NameField(max_length=8)),
                ("name", NameField(blank=True, max_length=512)),
                ("number", models.BigIntegerField()),
                ("document", models.TextField(null=True)),
                ("salt", models.CharField(max_length=64, null=True)),
                ("content_digest", models.CharField(max_length=64)),
                ("digest", models.CharField(max_length=64)),
                ("redactable", models.SmallIntegerField()),
                ("audit_tag", models.CharField(max_length=128)),
            ],
            options={
                "verbose_name": "event",
                "default_permissions": ("view",),
                "constraints": [models.UniqueConstraint(
                    fields=("account", "kind", "name", "number"),
                    name="vmfa_one_event_per_number",
                )],
            },
        ),
    ]
