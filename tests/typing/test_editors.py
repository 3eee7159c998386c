"""What an editor shows: completion, hover and go to definition, with jedi and with pyright."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vmfa
import vmfa.aio

SERVICE = """\
from vmfa import Actor, DerivedKeys, PrincipalId, SQLiteStore
from {module} import DeviceRegistry

registry = DeviceRegistry({store}, keys=DerivedKeys.from_file("k"), issuer="Example")
alice = PrincipalId.user("main", "u-4711")
receipt = {await_}registry.verify(alice, "123456")
claim = receipt.claim
"""
SYNC = SERVICE.format(module="vmfa", store='SQLiteStore("mfa.db")', await_="")
ASYNC = SERVICE.format(
    module="vmfa.aio", store='InThreads(SQLiteStore("mfa.db"))', await_="await "
).replace("import DeviceRegistry", "import DeviceRegistry, InThreads")
BOTH = pytest.mark.parametrize(
    ("code", "kind"),
    [(SYNC, vmfa.DeviceRegistry), (ASYNC, vmfa.aio.DeviceRegistry)],
    ids=["synchronous", "asynchronous"],
)
METHODS = {name for name, value in vars(vmfa.DeviceRegistry).items() if name[0] != "_"} - {
    "operations"
}
VERIFY = 6  # the line of SERVICE


def definition_of(kind: type) -> tuple[str, int]:
    """The file and the line of the method verify."""
    method = vars(kind)["verify"]
    return str(inspect.getsourcefile(method)), inspect.getsourcelines(method)[1]


def column(code: str, text: str) -> int:
    """Where *text* begins in the line that verifies."""
    return code.splitlines()[VERIFY - 1].index(text)


@BOTH
class TestJedi:
    """The engine of IPython and of several editors."""

    @staticmethod
    def script(code: str) -> Any:
        return pytest.importorskip("jedi", reason="jedi comes with the test extra").Script(code)

    def test_completion(self, code: str, kind: type) -> None:
        completions = self.script(code + "registry.").complete(code.count("\n") + 1, 9)
        assert {completion.name for completion in completions} >= METHODS

    def test_completion_of_a_result(self, code: str, kind: type) -> None:
        completions = self.script(code + "claim.").complete(code.count("\n") + 1, 6)
        names = {completion.name for completion in completions}
        assert names >= {"serial", "at", "method", "to_dict"}

    def test_hover(self, code: str, kind: type) -> None:
        (verify,) = self.script(code).help(VERIFY, column(code, "verify"))
        tooltip = verify.docstring()
        assert tooltip.startswith("verify(principal: PrincipalId, code: str")
        assert (inspect.getdoc(vars(kind)["verify"]) or "?").splitlines()[0] in tooltip
        assert ":raises CodeRejected:" in tooltip

    def test_go_to_definition(self, code: str, kind: type) -> None:
        (found,) = self.script(code).goto(VERIFY, column(code, "verify"), follow_imports=True)
        assert (str(found.module_path), found.line) == definition_of(kind)


class LanguageServer:
    """pyright, as an editor speaks with it."""

    def __init__(self, program: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [program, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder
        )
        self._folder = folder
        self._requests = 0

    def start(self) -> None:
        folder = self._folder.as_uri()
        folders = [{"uri": folder, "name": "service"}]
        capabilities = {"workspace": {"configuration": True}}
        self.request(
            "initialize",
            {
                "processId": None,
                "rootUri": folder,
                "workspaceFolders": folders,
                "capabilities": capabilities,
            },
        )
        self._send({"method": "initialized", "params": {}})

    def open(self, code: str) -> str:
        """Open *code* as a file; return its address."""
        file = self._folder / "service.py"
        file.write_text(code, "utf-8")
        document = {"uri": file.as_uri(), "languageId": "python", "version": 1, "text": code}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        return file.as_uri()

    def ask(self, what: str, uri: str, line: int, character: int) -> Any:
        """Ask what is at a place of a file; lines are counted from one."""
        position = {"line": line - 1, "character": character}
        params = {"textDocument": {"uri": uri}, "position": position}
        return self.request(f"textDocument/{what}", params)

    def request(self, method: str, params: object) -> Any:
        self._requests += 1
        self._send({"id": self._requests, "method": method, "params": params})
        while True:
            message = self._receive()
            if message.get("method") == "workspace/configuration":
                answers = [{"pythonPath": sys.executable} for _ in message["params"]["items"]]
                self._send({"id": message["id"], "result": answers})
            elif "method" in message and "id" in message:
                self._send({"id": message["id"], "result": None})
            elif message.get("id") == self._requests:
                assert "error" not in message, message
                return message["result"]

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()

    def _send(self, message: dict[str, Any]) -> None:
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(content), content))
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        stream = self._process.stdout
        assert stream is not None
        length = 0
        while line := stream.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if not length:
            pytest.skip("pyright cannot run here")
        message: dict[str, Any] = json.loads(stream.read(length))
        return message


@pytest.fixture
def pyright(tmp_path: Path) -> Iterator[LanguageServer]:
    name = "pyright-langserver"
    program = shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("pyright comes with the campaigns extra")
    server = LanguageServer(program, tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.mark.slow
@BOTH
class TestPyright:
    """The engine of Visual Studio Code and of other editors."""

    def test_completion(self, pyright: LanguageServer, code: str, kind: type) -> None:
        uri = pyright.open(code + "registry.")
        answer = pyright.ask("completion", uri, code.count("\n") + 1, 9)
        assert {item["label"] for item in answer["items"]} >= METHODS

    def test_completion_of_a_result(self, pyright: LanguageServer, code: str, kind: type) -> None:
        uri = pyright.open(code + "claim.")
        answer = pyright.ask("completion", uri, code.count("\n") + 1, 6)
        names = {item["label"] for item in answer["items"]}
        assert names >= {"serial", "at", "method", "to_dict"}

    def test_hover(self, pyright: LanguageServer, code: str, kind: type) -> None:
        uri = pyright.open(code)
        tooltip = pyright.ask("hover", uri, VERIFY, column(code, "verify"))["contents"]["value"]
        assert "principal: PrincipalId" in tooltip
        assert "CodeRejected" in tooltip

    def test_go_to_definition(self, pyright: LanguageServer, code: str, kind: type) -> None:
        uri = pyright.open(code)
        (found,) = pyright.ask("definition", uri, VERIFY, column(code, "verify"))
        file, line = definition_of(kind)
        assert found["uri"] == Path(file).as_uri()
        assert found["range"]["start"]["line"] + 1 == line
