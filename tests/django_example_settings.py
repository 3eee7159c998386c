"""The settings of the example application with Django, with what tests replace."""

from django.contrib.auth.hashers import Argon2PasswordHasher

from django_example import CLOCK
from mysite.settings import *  # noqa: F403
from mysite.settings import VMFA

VMFA = {**VMFA, "CLOCK": CLOCK}
PASSWORD_HASHERS = ["django_example_settings.FastHasher"]
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
LOGGING_CONFIG = None  # the refusals that tests ask for are not printed


class FastHasher(Argon2PasswordHasher):
    """A password hasher that costs nothing: tests enter many passwords."""

    time_cost = 1
    memory_cost = 8
    parallelism = 1
