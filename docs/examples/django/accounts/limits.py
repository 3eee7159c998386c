"""A rate limit in front of the forms, in Django's cache.

It keeps floods away from the password hash and the database. The limit that counts for codes is
vmfa's own: it is stored, and holds for all processes together. With several processes, use a
cache that they share, or let your proxy do what this module does.
"""

from __future__ import annotations

from hashlib import sha256
from math import ceil

from django.core.cache import cache

from vmfa.integrations.django.registry import get_configuration

FORMS_OF_AN_ADDRESS = 60, 60  # a number of requests, in seconds
PASSWORDS_OF_A_USER = 10, 60


def wait_for(limit: tuple[int, int], key: str) -> int:
    """Count a request; return 0 if it is permitted, or else the seconds to wait.

    :param limit: so many requests in so many seconds, spread evenly after the first burst.
    """
    count, seconds = limit
    now = get_configuration().clock()
    name = sha256(f"{limit} {key}".encode()).hexdigest()
    # When the burst is whole again
    full_at: float = max(cache.get(name, now), now) + seconds / count
    if full_at - now > seconds:
        return ceil(full_at - now - seconds)
    cache.set(name, full_at, timeout=seconds)
    return 0
