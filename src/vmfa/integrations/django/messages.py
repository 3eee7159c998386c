"""The texts for the person at the page, in the language of the request.

The message ids of the translation are the English texts of
:data:`vmfa.errors.CLAIMANT_MESSAGES`: add them to the message files of your project.
"""

from __future__ import annotations

from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from ...errors import CLAIMANT_MESSAGES, VmfaError

MESSAGES: Final[dict[str, str | Promise]] = {
    message_id: gettext_lazy(text) for message_id, text in CLAIMANT_MESSAGES.items()
}


def message_of(error: VmfaError) -> str:
    """Return the translated text of *error*."""
    return str(MESSAGES[error.message_id]).format(wait=error.retry_after or 0)
