"""Create the tables of users and sessions."""

import uuid
from typing import ClassVar

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """As ``manage.py makemigrations`` writes it."""

    initial = True
    dependencies: ClassVar = [("auth", "0012_alter_user_first_name_max_length")]
    operations: ClassVar = [
        migrations.CreateModel(
            name="Session",
            fields=[
                ("session_key", models.CharField(
                    max_length=40, primary_key=True, serialize=False, verbose_name="session key",
                )),
                ("session_data", models.TextField(verbose_name="session data")),
                ("expire_date", models.DateTimeField(db_index=True, verbose_name="expire date")),
                ("user_id", models.UUIDField(db_index=True, editable=False, null=True)),
            ],
            options={
                "verbose_name": "session", "verbose_name_plural": "sessions", "abstract": False,
            },
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(
                    blank=True, null=True, verbose_name="last login",
                )),
                ("is_superuser", models.BooleanField(
                    default=False, verbose_name="superuser status",
                    help_text="Designates that this user has all permissions without explicitly "
                    "assigning them.",
                )),
                ("is_staff", models.BooleanField(
                    default=False, verbose_name="staff status",
                    help_text="Designates whether the user can log into this admin site.",
                )),
                ("is_active", models.BooleanField(
                    default=True, verbose_name="active",
                    help_text="Designates whether this user should be treated as active. "
                    "Unselect this instead of deleting accounts.",
                )),
                ("date_joined", models.DateTimeField(
                    default=django.utils.timezone.now, verbose_name="date joined",
                )),
                ("id", models.UUIDField(
                    default=uuid.uuid4, editable=False, primary_key=True, serialize=False,
                )),
                ("email", models.EmailField(
                    max_length=254, unique=True, verbose_name="e-mail address",
                )),
                ("has_device", models.BooleanField(default=False)),
                ("groups", models.ManyToManyField(
                    blank=True, related_name="user_set", related_query_name="user",
                    to="auth.group", verbose_name="groups",
                    help_text="The groups this user belongs to. A user will get all permissions "
                    "granted to each of their groups.",
                )),
                ("user_permissions", models.ManyToManyField(
                    blank=True, related_name="user_set", related_query_name="user",
                    to="auth.permission", verbose_name="user permissions",
                    help_text="Specific permissions for this user.",
                )),
            ],
            options={
                "verbose_name": "user", "verbose_name_plural": "users", "abstract": False,
            },
        ),
    ]
