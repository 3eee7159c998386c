from postgres_server import database, server  # noqa: F401
