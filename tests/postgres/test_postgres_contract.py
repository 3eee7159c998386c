"""The two PostgreSQL stores keep what every store promises."""

from vmfa.testing import StoreContract


class TestPostgresStores(StoreContract):
    """The fixture ``store`` gives each in turn."""
