"""The life of a device: enroll, confirm, verify, resync, deactivate, show, list, history."""

from __future__ import annotations

from ..errors import RecordTampered, StoreTooNew, UnknownMasterKey, VmfaError
from ..events import AuditEvent
from ..models import PrincipalId, Sync, SyncReport
from .context import CommandContext, CommandResult, load_extra
from .io import Drawing, ask
from .rendering import event_data, event_text, principal_data, read_account, shell_quoted


def enroll(context: CommandContext) -> CommandResult:
    qr = (
        load_extra("vmfa.qr", "qr", "--qr needs") if context.args.qr else None
    )  # before the enrollment is opened
    principal, registry = context.principal, context.registry
    binding_code = context.args.binding_code
    if binding_code is not None:
        binding_code = ask(binding_code, "binding code")
    opened = registry.open_enrollment(
        principal, by=context.actor(), label=context.args.label, binding_code=binding_code
    )
    data = {
        "principal": principal_data(principal),
        "session": opened.session_id,
        "serial": opened.serial,
        "expires_at": opened.expires_at,
        "base32": opened.base32,
        "uri": opened.uri,
    }
    drawing = [Drawing(line) for line in qr.terminal(opened.uri).splitlines()] if qr else []
    return CommandResult(
        data=data,
        text=[
            *drawing,
            f"key (Base32):  {opened.base32}",
            f"key URI:       {opened.uri}",
            f"session:       {opened.session_id}",
            f"open until:    {context.time(opened.expires_at)}",
            "The key is not shown again. Add it to the authenticator app, then enter two codes:",
            f"  vmfa confirm {shell_quoted(principal)}",
        ],
    )


def confirm(context: CommandContext) -> CommandResult:
    principal, registry = context.principal, context.registry
    session = context.args.session
    if session is None:
        enrollment = context.store.load(principal).enrollment
        session = enrollment.session_id if enrollment else ""
    codes, actor = context.two_codes(), context.actor()
    report = registry.confirm_enrollment(principal, session=session, by=actor, **codes)
    text = [f"assigned and in sync: serial {report.device.serial}"]
    if report.sync is Sync.OUT_OF_SYNC:
        steps, serial = report.steps_off, report.device.serial
        text = [
            f"assigned, but OUT OF SYNC by {steps} steps: serial {serial}",
            "Its codes are not accepted until two new consecutive codes resynchronize it:",
            f"  vmfa resync {shell_quoted(principal)}",
        ]
    return CommandResult(data=_sync_data(principal, report), text=text)


def verify(context: CommandContext) -> CommandResult:
    principal, registry = context.principal, context.registry
    receipt = registry.verify(principal, ask(context.args.code, "code"))
    data = {
        "principal": principal_data(principal),
        "serial": receipt.serial,
        "step": receipt.step,
        "at": receipt.at,
        "drift": receipt.drift,
        "failures_cleared": receipt.failures_cleared,
    }
    at = context.time(receipt.at)
    return CommandResult(
        data=data, text=[f"accepted at {at}: serial {receipt.serial}, step {receipt.step}"]
    )


def resync(context: CommandContext) -> CommandResult:
    principal, registry = context.principal, context.registry
    codes, actor = context.two_codes(), context.actor()
    report = registry.resync(principal, by=actor, **codes)
    return CommandResult(
        data=_sync_data(principal, report),
        text=[
            f"in sync with a drift of {report.device.drift} steps: serial {report.device.serial}",
            "The two codes do not sign the user in. The next code does.",
        ],
    )


def deactivate(context: CommandContext) -> CommandResult:
    removed = context.registry.deactivate(
        context.principal, by=context.actor(), reason=context.args.reason
    )
    data = {
        "principal": principal_data(context.principal),
        "serial": removed.serial,
        "at": removed.at,
        "binding_code": removed.binding_code,
        "binding_code_expires_at": removed.binding_code_expires_at or None,
    }
    at = context.time(removed.at)
    text = [f"deactivated at {at}: serial {removed.serial}; its key is destroyed"]
    if removed.binding_code is not None:
        text += [
            f"binding code:  {removed.binding_code}",
            f"valid until:   {context.time(removed.binding_code_expires_at)}",
            "The code is not shown again. The owner needs it to enroll again.",
        ]
    return CommandResult(data=data, text=text)


def show(context: CommandContext) -> CommandResult:
    device = context.registry.device(context.principal, by=context.actor())
    parameters = device.parameters
    data: dict[str, object] = {
        "principal": principal_data(context.principal),
        "serial": device.serial,
        "sync": device.sync.value,
        "disabled": device.disabled,
        "enrolled_at": device.enrolled_at,
        "algorithm": parameters.algorithm,
        "digits": parameters.digits,
        "period": parameters.period,
        "t0": parameters.t0,
        "drift": device.drift,
        "last_step": device.last_step,
        "failures": device.failures,
        "budget": device.budget,
    }
    interval = f"every {parameters.period} seconds from {context.time(parameters.t0)}"
    return CommandResult(
        data=data,
        text=[
            f"serial:    {device.serial}",
            f"state:     {device.sync.value}{', DISABLED' if device.disabled else ''}",
            f"enrolled:  {context.time(device.enrolled_at)}",
            f"codes:     {parameters.digits} digits, {parameters.algorithm}, {interval}",
            f"drift:     {device.drift} steps; last step used: {device.last_step}",
            f"failures:  {device.failures} in a row; {device.budget} guesses left in the budget",
        ],
    )


def list_principals(context: CommandContext) -> CommandResult:
    account, registry = (
        PrincipalId.root(read_account(context.args.account)).account,
        context.registry,
    )
    rows: list[tuple[PrincipalId, str]] = []
    failure: VmfaError | None = None
    page = registry.principals(account)
    while page:
        for principal in page:
            try:
                state = "device" if registry.requires_code(principal) else "no device"
            except (RecordTampered, StoreTooNew, UnknownMasterKey) as error:
                state, failure = error.reason, error
            rows.append((principal, state))
        page = registry.principals(account, after=page[-1])
    principals = [{**principal_data(principal), "state": state} for principal, state in rows]
    text = [f"{shell_quoted(principal)}  {state}" for principal, state in rows]
    return CommandResult(
        data={"account": account, "principals": principals},
        text=text or ["no principal of this account has a record"],
        failure=failure,
    )


def history(context: CommandContext) -> CommandResult:
    """Print the events. The registry checks every page, so the last digest is the head."""
    principal, registry, actor = context.principal, context.registry, context.actor()
    events: list[AuditEvent] = []
    while page := registry.history(principal, by=actor, after=events[-1].number if events else 0):
        events.extend(page)
    head = events[-1].digest if events else ""
    data = {
        "principal": principal_data(principal),
        "events": [event_data(event) for event in events],
        "head": head,
    }
    return CommandResult(
        data=data,
        text=[
            *(event_text(event, utc=context.args.utc) for event in events),
            f"intact: {len(events)} events; head: {head or 'none'}",
        ],
    )


def _sync_data(principal: PrincipalId, report: SyncReport) -> dict[str, object]:
    return {
        "principal": principal_data(principal),
        "serial": report.device.serial,
        "sync": report.sync.value,
        "steps_off": report.steps_off,
        "drift": report.device.drift,
    }
