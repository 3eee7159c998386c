"""The commands of the page about anchoring, against a time-stamping authority of our own."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from vmfa.integrations.signing import SigningKey

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "sign-checkpoints.md"
CONFIGURATION = """
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = Time-stamping authority of a test
[extensions]
basicConstraints = critical, CA:TRUE
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = authority
[authority]
serial = serial
signer_cert = tsa-ca.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
"""


def command(program: str) -> list[str]:
    """Return the command of the page that begins with *program*."""
    (line,) = re.findall(rf"^{re.escape(program)} .*$", PAGE.read_text(), re.MULTILINE)
    return shlex.split(line)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_time_stamp_covers_the_signed_checkpoint(tmp_path: Path) -> None:
    """RULE-CHECKPOINT-SIGNED: RFC 3161, as the page describes it."""

    def run(arguments: list[str]) -> int:
        done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, check=False)
        return done.returncode

    (tmp_path / "tsa.cnf").write_text(CONFIGURATION)
    (tmp_path / "serial").write_text("01\n")
    checkpoint = tmp_path / "checkpoint.json"
    checkpoint.write_text(SigningKey.generate().sign({"v": 1, "at": "", "checkpoints": []}))
    authority = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc"
    assert run([*authority.split(), "-keyout", "tsa.key", "-out", "tsa-ca.pem", "-days", "2",
                "-config", "tsa.cnf"]) == 0
    assert run(command("openssl ts -query")) == 0
    reply = "openssl ts -reply -config tsa.cnf -section authority -queryfile checkpoint.tsq"
    assert run([*reply.split(), "-out", "checkpoint.tsr"]) == 0
    assert run(command("openssl ts -verify")) == 0
    checkpoint.write_text(checkpoint.read_text() + " ")
    assert run(command("openssl ts -verify")) != 0
