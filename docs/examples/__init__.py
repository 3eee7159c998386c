"""Example applications: the same sign-in with Flask and with FastAPI."""
