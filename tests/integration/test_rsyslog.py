"""The two rsyslog servers of the documentation deliver every event whole and in order."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmfa import AuditEvent, EventActor, EventType, PrincipalId
from vmfa.audit import line
from vmfa.ocsf import ocsf_line

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs/howto/audit-to-a-siem.md"
FENCE = re.compile(r"^```text\n(global.*?)^```$", re.MULTILINE | re.DOTALL)
SENDER, RECEIVER = FENCE.findall(PAGE.read_text())
DEADLINE = 60  # seconds
PERSON = EventActor(role="signed in", account="1", kind="user", name="alice")
LONG = "😀" * 128  # 512 bytes: as long as a text may be, and longer in JSON
LOGGED = [
    AuditEvent(
        type=event_type, at=1_700_000_000 + number, principal=PrincipalId.user("1", "alice"),
        actor=PERSON, source="203.0.113.7", number=number,
    )
    for number, event_type in enumerate(EventType)
]  # fmt: skip


def long_event() -> AuditEvent:
    person = PrincipalId.user(LONG, LONG)
    actor = EventActor(role="admin", account=LONG, kind="user", name=LONG)
    return AuditEvent(
        type=EventType.DEACTIVATED, at=1, principal=person, actor=actor, source=LONG, reason=LONG,
        details=tuple((f"detail {number}", LONG) for number in range(8)),
    )


@contextmanager
def rsyslog(configuration: str, folder: Path) -> Iterator[None]:
    """Run a server with a configuration of the page, whose paths are below *folder*."""
    program = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None, "install the package rsyslog"
    folder.mkdir()
    file = folder / "rsyslog.conf"
    file.write_text(configuration.replace("/var/spool/rsyslog", str(folder)))
    command = [program, "-n", "-f", str(file), "-i", str(folder / "pid")]
    check = subprocess.run(
        [program, "-N1", "-f", str(file)], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr
    server = subprocess.Popen(command)
    try:
        yield
    finally:
        server.terminate()
        server.wait(DEADLINE)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("write", [line, ocsf_line])
def test_each_event_arrives_whole(write: Callable[[AuditEvent], str], tmp_path: Path) -> None:
    sent, received = tmp_path / "audit.jsonl", tmp_path / "received.jsonl"
    sent.touch()
    port = str(free_port())
    receiver = RECEIVER.replace("6514", port)
    receiver = receiver.replace("/var/log/vmfa/received.jsonl", str(received))
    sender = SENDER.replace("6514", port).replace("/var/log/vmfa/audit.jsonl", str(sent))
    sender = sender.replace("siem.example.com", "127.0.0.1")
    lines = [write(event) for event in (*LOGGED, long_event())]
    assert len(lines[-1]) > 8192  # the limit of rsyslog if nothing is configured
    with rsyslog(sender, tmp_path / "sender"), sent.open("a") as file:
        file.writelines(f"{text}\n" for text in lines[:5])
        file.flush()
        with rsyslog(receiver, tmp_path / "receiver"):  # it was down until now
            file.writelines(f"{text}\n" for text in lines[5:])
            file.flush()
            end = time.monotonic() + DEADLINE
            while time.monotonic() < end:
                arrived = received.read_text().splitlines() if received.exists() else []
                if len(arrived) >= len(lines):
                    break
                time.sleep(0.1)
    assert [json.loads(text) for text in arrived] == [json.loads(text) for text in lines]
