"""The PostgreSQL server of the tests."""

from postgres_server import database, server  # noqa: F401  # fixtures
