"""What several rules share: the guards, the scan of two codes, and claims.

A guard raises an exception or changes nothing. No guard computes a code.
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
    """Return the parameters of the device or of the enrollment; otherwise those of new devices."""
    current = principal.device or principal.enrollment
    return current.parameters if current else policy.offers[0]


def code_lengths(policy: Policy, principal: Principal) -> tuple[int, ...]:
    """Return the numbers of digits that a code may have: the same for every principal.

    A code of another length than that of the device is a wrong code and not a malformed one.
    Otherwise the error would show whether a principal has a device, and of which kind.
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
    """Return the assigned device of an intact record.

    :raises RecordTampered: the record is not intact.
    :raises NoDevice: the principal has no assigned device.
    """
    check_intact(before, ctx.keys)
    if before.device is None:
        raise errors.NoDevice("this principal has no assigned device")
    return before.device


def check_clock(before: Principal, ctx: Context) -> None:
    """Check that the clock did not go back. Times are compared, not steps.

    :raises ClockWentBack: the time is more than a period behind a committed time.
    """
    # RULE-CLOCK
    behind = before.seen_at - ctx.now
    if behind > parameters_of(before, ctx.policy).period:
        raise errors.ClockWentBack(
            f"the clock is {behind} seconds behind a committed time; nothing was counted"
        )


def find_consecutive_pair(
    before: Principal,
    device_or_session: DeviceOrSession,
    ctx: Context,
    codes: tuple[str, str],
    *,
    current: int,
    back: int,
    forward: int,
    after: int,
) -> tuple[int, int] | None:
    """Return the step of the second code, and the step up to which all codes are spent.

    The first code must be of the step before. Both steps must be later than *after*. If several
    pairs match, the nearest to *current* is chosen; if two are equally near, the later one. Codes
    are spent up to the step of the second code, or up to a later step that shows one of the two
    codes and that a sign-in could reach.

    :param codes: the first and the second code.
    :param current: the current step.
    :param back: steps before *current* at which the second code may be.
    :param forward: steps after *current* at which the second code may be.
    :param after: the last spent step; -1 if none is.
    :returns: the two steps; None if the codes are not such a pair.
    """
    # RULE-SPENT
    window = ctx.policy.window
    steps = window_steps(current, back + 1, forward + window)
    firsts, seconds = scan_steps(before, device_or_session, ctx, codes, steps)
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
    device_or_session: DeviceOrSession,
    ctx: Context,
    codes: tuple[str, ...],
    steps: range,
) -> list[list[int]]:
    """Return, for each of *codes*, those of *steps* that it matches."""
    assert before.key_ref is not None  # noqa: S101  # Principal checks it
    parameters = device_or_session.parameters
    key = ctx.keys.reveal(before.key_ref, before.id, device_or_session.serial, parameters)
    return scan(key, codes, steps, parameters.digits, parameters.algorithm)


def signed_claim(
    keys: RecordAuthenticator,
    principal: PrincipalId,
    *,
    at: int,
    serial: str = "",
    method: str = "",
) -> MfaClaim:
    """Return a claim of *principal*, with its MAC."""
    # RULE-CLAIM-MAC
    tag = keys.tag("claim", _claim_message(principal, serial, method, at))
    return MfaClaim(at=at, serial=serial, method=method, tag=tag)


def _claim_message(principal: PrincipalId, serial: str, method: str, at: int) -> bytes:
    return encode_fields(
        "vmfa claim v1", principal.account, principal.kind, principal.name, serial, method, at
    )


def without_key(before: Principal) -> Principal:
    """Return *before* without device and enrollment. Without its reference, the key is lost."""
    # RULE-KEY-DESTROYED
    return replace(before, enrollment=None, device=None, key_ref=None)


def open_session(before: Principal, ctx: Context, session_id: str) -> EnrollmentSession:
    """Return the open session, if *session_id* is its id.

    :raises NoSession: it is not.
    """
    # SEED-BOUND
    check_intact(before, ctx.keys)
    session = before.enrollment
    if session is None or not recovery.same_text(session.session_id, session_id):
        raise errors.NoSession("no such enrollment session is open: open an enrollment first")
    check_clock(before, ctx)
    return session


def superseded(before: Principal, ctx: Context) -> tuple[AuditEvent, ...]:
    """Return the event that ends the open enrollment, if there is one."""
    if before.enrollment is None:
        return ()
    return (ctx.event(EventType.SUPERSEDED, before.enrollment.serial),)


def without_expired(before: Principal, ctx: Context) -> tuple[Principal, tuple[AuditEvent, ...]]:
    """Return *before* without an expired enrollment, and the events of its end."""
    session = before.enrollment
    if session is None or ctx.now < session.expires_at:  # RULE-ABANDONED
        return before, ()
    check_intact(before, ctx.keys)
    check_clock(before, ctx)
    return without_key(before), (ctx.event(EventType.EXPIRED, session.serial),)


def claim_is_authentic(
    keys: RecordAuthenticator, principal: PrincipalId, claim: MfaClaim
) -> bool:
    """Return whether the MAC of *claim* is for *principal*, under an accepted master key."""
    try:
        message = _claim_message(principal, claim.serial, claim.method, claim.at)
        return keys.check("claim", message, claim.tag)
    except errors.UnknownMasterKey:
        return False
