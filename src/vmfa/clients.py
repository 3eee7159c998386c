"""Known clients: tokens that distinguish the owner's browsers from others (OWASP device cookies).

A token proves that its bearer once signed in as this principal with this device. It is not a
second factor: it only decides in which lane failures are counted.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from .errors import UnknownMasterKey
from .keys import encode_fields
from .keysources.base import RecordAuthenticator
from .models import MAX_FAILING_CLIENTS, ClientToken, FailingClient, PrincipalId, VirtualDevice
from .policy import DAY, Policy

VERSION: Final = "1"
ID_BYTES: Final = 16
MAX_TOKEN_CHARACTERS: Final = 256
GIVEN_TOKEN_SECONDS: Final = DAY  # of a token that an administrator gives to the owner
MAX_CLIENT_FAILURES: Final = 10  # consecutive failures after which a token counts as none
GIVEN: Final = "g"  # by an administrator, for one sign-in
RENEWED: Final = "r"  # by each receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClient:
    """A valid token: its id in hexadecimal, and the Unix time, in seconds, at which it expires."""

    token_id: str
    expires_at: int


def issue_token(
    principal: PrincipalId,
    device: VirtualDevice,
    *,
    now: int,
    seconds: int,
    kind: str,
    keys: RecordAuthenticator,
    random: Callable[[int], bytes],
) -> tuple[ClientToken, str]:
    """Return a new token and its id in hexadecimal.

    :param seconds: how long the token is valid.
    :param kind: :data:`GIVEN` or :data:`RENEWED`.
    """
    # RULE-CLIENT-TOKEN
    token_id = random(ID_BYTES)
    tag = keys.tag("client token", _message(principal, device, kind, token_id.hex(), now))
    encoded_id = b2a_base64(token_id, newline=False).decode().rstrip("=")
    body = f"{VERSION}{kind}.{encoded_id.replace('+', '-').replace('/', '_')}.{now}.{tag}"
    return ClientToken(text=body, expires_at=now + seconds), token_id.hex()


def known_client(
    token: object,
    principal: PrincipalId,
    device: VirtualDevice,
    *,
    now: int,
    policy: Policy,
    keys: RecordAuthenticator,
) -> KnownClient | None:
    """Return the known client that presents *token*, or None for any other token.

    :param token: the text of a token, a :class:`~vmfa.ClientToken`, or None.
    """
    text = token.text if isinstance(token, ClientToken) else token
    if not policy.known_clients or not isinstance(text, str) or len(text) > MAX_TOKEN_CHARACTERS:
        return None
    try:
        head, encoded_id, issued_at_text, tag = text.split(".", 3)
        version, kind = head[:1], head[1:]
        token_id = a2b_base64(
            encoded_id.replace("-", "+").replace("_", "/") + "==", strict_mode=True
        ).hex()
        if not (issued_at_text.isascii() and issued_at_text.isdigit()):
            return None
        issued_at = int(issued_at_text)
        authentic = keys.check(
            "client token", _message(principal, device, kind, token_id, issued_at), tag
        )
    except (ValueError, UnknownMasterKey):
        return None
    is_given = kind == GIVEN
    expires_at = issued_at + (GIVEN_TOKEN_SECONDS if is_given else policy.client_token_seconds)
    if not authentic or version != VERSION or now >= expires_at:
        return None
    if is_given and device.clients.given != token_id:
        return None  # it was used, or replaced by another one
    if is_demoted(device, token_id, now):
        return None
    return KnownClient(token_id=token_id, expires_at=expires_at)


def is_demoted(device: VirtualDevice, token_id: str, now: int) -> bool:
    """Return whether a token failed too often in a row, so that it is void until it expires."""
    return any(
        failing.token_id == token_id and failing.failures >= MAX_CLIENT_FAILURES
        for failing in _unexpired(device, now)
    )


def can_note_failure(device: VirtualDevice, client: KnownClient, now: int) -> bool:
    """Return whether a failure of *client* can be noted: a fifth failing one cannot.

    Its failures, and the delay after them, are those of clients without a token.
    """
    # RULE-FAILING-CLIENTS
    failing = _unexpired(device, now)
    known_ids = [other.token_id for other in failing]
    return client.token_id in known_ids or len(failing) < MAX_FAILING_CLIENTS


def after_failure(device: VirtualDevice, client: KnownClient, now: int) -> VirtualDevice:
    """Return *device* with one more failure noted for *client*."""
    failing = {other.token_id: other for other in _unexpired(device, now)}
    earlier = failing.get(client.token_id)
    failing[client.token_id] = FailingClient(
        token_id=client.token_id,
        failures=earlier.failures + 1 if earlier else 1,
        expires_at=client.expires_at,
    )
    return replace(device, clients=replace(device.clients, failing=tuple(failing.values())))


def without_failures(device: VirtualDevice, client: KnownClient, now: int) -> VirtualDevice:
    """Return *device* without the failures of *client*."""
    failing = tuple(
        other for other in _unexpired(device, now) if other.token_id != client.token_id
    )
    return replace(device, clients=replace(device.clients, failing=failing))


def without_given(device: VirtualDevice, client: KnownClient) -> VirtualDevice:
    """Return *device* after a sign-in, which uses up a token for one sign-in."""
    if device.clients.given != client.token_id:
        return device
    return replace(device, clients=replace(device.clients, given=""))


def _unexpired(device: VirtualDevice, now: int) -> list[FailingClient]:
    return [client for client in device.clients.failing if now < client.expires_at]


def _message(
    principal: PrincipalId, device: VirtualDevice, kind: str, token_id: str, issued_at: int
) -> bytes:
    return encode_fields(
        "vmfa client token v1", principal.account, principal.kind, principal.name, device.serial,
        device.clients.epoch, kind, token_id, issued_at,
    )
