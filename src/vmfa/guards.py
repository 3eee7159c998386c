"""The guards and the common parts of the rules.

A guard raises and changes nothing. No guard computes a code.
"""

from __future__ import annotations

from dataclasses import replace

from . import clients, errors, recovery, throttle
from .decision import Context
from .events import AuditEvent, EventType
from .keys import encode_fields
from .keysources.base import RecordAuthenticator
from .models import EnrollmentSession, MfaClaim, Principal, PrincipalId, VirtualDevice
from .otp import scan, window_steps
from .policy import Parameters, Policy
from .record import check_intact

DeviceOrSession = VirtualDevice | EnrollmentSession


def parameters_of(principal: Principal, policy: Policy) -> Parameters:
    """Return the parameters of the device or the enrollment, or else of a new device."""
    current = principal.device or principal.enrollment
    return current.parameters if current else policy.offers[0]


def code_lengths(policy: Policy, principal: Principal) -> tuple[int, ...]:
    """Return the numbers of digits that a code may have: the same for every principal.

    A code with another number of digits than the device's is a wrong code. Otherwise its syntax
    would show which kind of device somebody has, or that there is none.
    """
    # RULE-LENGTHS
    lengths = {offer.digits for offer in policy.offers}
    return tuple(sorted(lengths | {parameters_of(principal, policy).digits}))


def usable_device(
    before: Principal, ctx: Context, client_token: object
) -> tuple[VirtualDevice, clients.KnownClient | None]:
    """Return the device, if a code of it may be evaluated now, and the known client that asks."""
    # RULE-ORDER
    device = intact_device(before, ctx)
    check_clock(before, ctx)
    client = clients.known_client(
        client_token, before.id, device, now=ctx.now, policy=ctx.policy, keys=ctx.keys
    )
    throttle.check_open(device, client, ctx.now, ctx.policy)
    return device, client


def intact_device(before: Principal, ctx: Context) -> VirtualDevice:
    check_intact(before, ctx.keys)
    if before.device is None:
        raise errors.NoDevice("this principal has no assigned device")
    return before.device


def check_clock(before: Principal, ctx: Context) -> None:
    """Check that the clock did not go back. Times are compared, not steps.

    :raises ClockWentBack: *now* is more than a period behind a committed time.
    """
    # RULE-CLOCK
    behind = before.seen_at - ctx.now
    if behind > parameters_of(before, ctx.policy).period:
        raise errors.ClockWentBack(
            f"the clock is {behind} seconds behind a committed time; nothing was counted"
        )


def find_consecutive_pair(
    before: Principal,
    current_device: DeviceOrSession,
    ctx: Context,
    codes: tuple[str, str],
    *,
    current: int,
    back: int,
    forward: int,
    after: int,
) -> tuple[int, int] | None:
    """Return the step s of code 2, with code 1 at s - 1, and the step up to which all is spent.

    Both steps must be later than *after*. Of several pairs the one nearest to *current* counts,
    and of two equally near ones the later. All is spent up to s, or up to a later step that a
    sign-in could reach and that shows one of the two codes (RULE-SPENT).
    """
    window = ctx.policy.window
    steps = window_steps(current, back + 1, forward + window)
    firsts, seconds = scan_steps(before, current_device, ctx, codes, steps)
    pairs = [
        step
        for step in seconds
        if step - 1 in firsts and current - back <= step <= current + forward and step - 1 > after
    ]
    if not pairs:
        return None
    step = min(pairs, key=lambda s: (abs(s - current), -s))
    reachable = max(step, current) + window
    return step, max(s for s in (*firsts, *seconds) if s <= reachable)


def scan_steps(
    before: Principal,
    current_device: DeviceOrSession,
    ctx: Context,
    codes: tuple[str, ...],
    steps: range,
) -> list[list[int]]:
    assert before.key_ref is not None  # noqa: S101  # Principal checks it
    parameters = current_device.parameters
    key = ctx.keys.reveal(before.key_ref, before.id, current_device.serial, parameters)
    return scan(key, codes, steps, parameters.digits, parameters.algorithm)


def signed_claim(
    keys: RecordAuthenticator,
    principal: PrincipalId,
    *,
    at: int,
    serial: str = "",
    method: str = "",
) -> MfaClaim:
    """Return a claim of *principal* with the library's MAC."""
    # RULE-CLAIM-MAC
    tag = keys.tag("claim", _claim_message(principal, serial, method, at))
    return MfaClaim(at=at, serial=serial, method=method, tag=tag)


def _claim_message(principal: PrincipalId, serial: str, method: str, at: int) -> bytes:
    return encode_fields(
        "vmfa claim v1", principal.account, principal.kind, principal.name, serial, method, at
    )


def without_key(before: Principal) -> Principal:
    """Neither device nor enrollment: without the reference the key cannot be computed again."""
    # RULE-KEY-DESTROYED
    return replace(before, enrollment=None, device=None, key_ref=None)


def open_session(before: Principal, ctx: Context, session_id: str) -> EnrollmentSession:
    """Return the open session; a foreign one does not exist (SEED-BOUND)."""
    check_intact(before, ctx.keys)
    session = before.enrollment
    if session is None or not recovery.same_text(session.session_id, session_id):
        raise errors.NoSession("no such enrollment session is open: open an enrollment first")
    check_clock(before, ctx)
    return session


def superseded(before: Principal, ctx: Context) -> tuple[AuditEvent, ...]:
    if before.enrollment is None:
        return ()
    return (ctx.event(EventType.SUPERSEDED, before.enrollment.serial),)


def without_expired(before: Principal, ctx: Context) -> tuple[Principal, tuple[AuditEvent, ...]]:
    """Return the state that an operation works on: an expired enrollment is over."""
    session = before.enrollment
    if session is None or ctx.now < session.expires_at:
        return before, ()
    check_intact(before, ctx.keys)
    check_clock(before, ctx)
    return without_key(before), (ctx.event(EventType.EXPIRED, session.serial),)


def claim_is_authentic(
    keys: RecordAuthenticator, principal: PrincipalId, claim: MfaClaim
) -> bool:
    """Return whether the library made *claim* for *principal*, under a master key that counts."""
    try:
        message = _claim_message(principal, claim.serial, claim.method, claim.at)
        return keys.check("claim", message, claim.tag)
    except errors.UnknownMasterKey:
        return False
