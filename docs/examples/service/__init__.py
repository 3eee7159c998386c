"""What a service has before it adds vmfa: users, passwords, sessions, a rate limit and pages."""
