"""Users, passwords and sessions, and the pages of both factors."""
