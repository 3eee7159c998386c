// Run the core tests and the SQLite store on CPython 3.14, which the npm package "pyodide" brings.
//
//     npm install --prefix FOLDER pyodide@314
//     pip install --target PACKAGES pytest hypothesis
//     node tests/integration/python314.mjs FOLDER PACKAGES [PYTEST_ARGUMENTS]
//
// This Python is a build for Emscripten: it has no threads and no processes. Tests that need one
// are skipped and counted.
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const [folder, packages, ...given] = process.argv.slice(2);
const repository = fileURLToPath(new URL("../..", import.meta.url));
const module = path.resolve(folder, "node_modules/pyodide/pyodide.mjs");
const { loadPyodide } = await import(pathToFileURL(module));

const python = await loadPyodide({ stdout: console.log, stderr: console.error });
python.mountNodeFS("/repository", repository);
python.mountNodeFS("/packages", path.resolve(packages));
python.globals.set("given", python.toPy(given));
process.exitCode = await python.runPythonAsync(`
import os
import subprocess
import sys

os.chdir("/repository")
sys.dont_write_bytecode = True
sys.path[:0] = ["/repository/src", "/repository/tests", "/packages"]

import pytest


class WithoutThreadsAndProcesses:
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        try:
            return (yield)
        except (RuntimeError, OSError) as error:
            text = str(error)
            if "can't start new thread" in text or "does not support processes" in text:
                pytest.skip("needs a thread or a process")
            raise


print(sys.version)
pytest.main(
    [
        "-q", "-rfE", "-p", "no:cacheprovider", "--basetemp=/tmp/tests",
        *(given or ["tests/rules", "tests/keysources", "tests/stores/test_sqlite.py",
                    "tests/test_keys.py", "tests/test_models.py", "tests/test_policy.py",
                    "tests/test_registry.py", "tests/test_otp.py"]),
    ],
    plugins=[WithoutThreadsAndProcesses()],
)
`);
