"""MFA devices in a Django project: a Django app that keeps them in the project's own database.

Add ``"vmfa.integrations.django"`` to ``INSTALLED_APPS`` and the setting ``VMFA``. As usual with
Django apps, import from the modules:

* :func:`vmfa.integrations.django.registry.get_registry`: the registry of the project.
* :mod:`vmfa.integrations.django.sessions`: the principal of a user, and the claim in a session.
* :mod:`vmfa.integrations.django.decorators`: ``mfa_required`` and ``MfaRequiredMixin``.
* :mod:`vmfa.integrations.django.forms`: forms for a code, a pair of codes and a recovery code.
* :data:`vmfa.integrations.django.signals.audit_event`: a signal for every event.
* :func:`vmfa.integrations.django.testing.unsafe_test_mode`: for Django's ``TestCase``.
"""

from __future__ import annotations

from importlib.util import find_spec

from ...errors import MissingExtra

if find_spec("django") is None:
    raise MissingExtra("the Django app needs Django: pip install 'vmfa[django]'")
