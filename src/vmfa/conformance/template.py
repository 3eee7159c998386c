"""Templates of an adapter: a Python class, and a program that speaks JSON lines."""

from __future__ import annotations

from typing import Final

__all__ = ["TEMPLATES"]

PYTHON: Final = '''\
"""An adapter for the conformance kit. Run: vmfa conformance run --python adapter.py:MySystem"""

from vmfa.conformance import Adapter, Answer, Result

OK = Answer(result=Result.ACCEPTED)


class MySystem(Adapter):
    name = "my system"
    version = "1.0"
    # Declare only what the methods below do. "vmfa conformance list --capabilities" explains all.
    capabilities = frozenset({"reset", "time", "provision"})

    def reset(self):
        """Delete all users and devices."""
        self.now = 0
        self.secrets = {}
        return OK

    def set_time(self, now):
        """Set the clock that your system reads; *now* is a Unix time in seconds."""
        self.now = now
        return OK

    def provision(self, user, secret, **parameters):
        """Assign a device with the key *secret* (Base32) to the test account *user*."""
        self.secrets[user] = secret
        return OK

    def verify(self, user, code, session="", node="", path=""):
        """Sign in with *code*, after the password. Map the answers of your system to a Result."""
        try:
            accepted = my_verify(self.secrets.get(user), code, self.now)
        except Exception as error:  # an error that your system did not handle
            return Answer.failed(error)
        return Answer.of(accepted)


def my_verify(secret, code, now):
    return False  # call your system here
'''

PROGRAM: Final = '''\
"""A program for the conformance kit: JSON lines on standard input and output.

Run: vmfa conformance run --program "python3 adapter.py"

Write it in any language. Each line of the input is a request with "id", "operation" and
"arguments". Answer each with one line: the same "id", and a "result":

    accepted   the code was right; or the operation was done
    rejected   the code was wrong; or the operation was refused
    used, malformed, throttled, locked, denied   the same, for a reason that the system reports
    failed     an error that the system did not handle
    unsupported   the system has no such operation
"""

import json
import sys

now = 0
secrets = {}


def verify(secret, code):
    return False  # call your system here


def answer(operation, arguments):
    global now
    if operation == "describe":
        # Declare only what is done below. "vmfa conformance list --capabilities" explains all.
        return {
            "name": "my system", "version": "1.0", "capabilities": ["reset", "time", "provision"]
        }
    if operation == "reset":
        secrets.clear()
        return {"result": "accepted"}
    if operation == "set_time":  # Unix time in seconds
        now = arguments["now"]
        return {"result": "accepted"}
    if operation == "provision":  # the key is Base32
        secrets[arguments["user"]] = arguments["secret"]
        return {"result": "accepted"}
    if operation == "verify":
        accepted = verify(secrets.get(arguments["user"]), arguments["code"])
        return {"result": "accepted" if accepted else "rejected"}
    return {"result": "unsupported"}


for line in sys.stdin:
    request = json.loads(line)
    print(
        json.dumps({"id": request["id"], **answer(request["operation"], request["arguments"])}),
        flush=True,
    )
'''

TEMPLATES: Final = {"python": PYTHON, "program": PROGRAM}
"""The templates by name."""
