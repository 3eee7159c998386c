// Run the tests of the core and of the SQLite store on CPython 3.14, which the npm package
// "pyodide" brings as WebAssembly.
//
//     npm install --prefix FOLDER pyodide@314
//     pip install --target PACKAGES --only-binary :all: --platform any --implementation py \
//         --abi none --python-version 3.14 pytest hypothesis
//     node tests/integration/python314.mjs FOLDER PACKAGES [PYTEST_ARGUMENTS]
//
// This build has no threads, no processes, no hard links and no OpenSSL. Tests that need one of
// them are skipped and counted; tests that need a compiled package are not in the list.
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isMainThread, Worker, workerData } from "node:worker_threads";

const TESTS = [
  "tests/rules",
  "tests/contract/test_our_stores.py",
  ...["derived_keys", "master_keys", "plain_keys"].map((name) => `tests/keysources/test_${name}.py`),
  ...["edges", "replaced", "schema", "tampered"].map((name) => `tests/stores/test_sqlite_${name}.py`),
  ...[
    "access", "analysis", "audit", "decision", "errors", "events", "history", "keyuri",
    "lifecycle", "models", "operations", "otp", "policy", "record", "registry", "validators",
  ].map((name) => `tests/test_${name}.py`),
];

const PROGRAM = `
import os
import sys

os.chdir("/repository")
sys.dont_write_bytecode = True
sys.path[:0] = ["/repository/src", "/repository/tests", "/packages"]

import pytest

MISSING = ("can't start new thread", "does not support processes", "has no attribute 'link'")


class WhatIsMissing:
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        try:
            return (yield)
        except (AttributeError, OSError, RuntimeError) as error:
            if any(text in str(error) for text in MISSING):
                pytest.skip(f"missing in this build: {error}")
            raise


print(sys.version)
pytest.main(
    [
        "-q", "-p", "no:cacheprovider", "--basetemp=/tmp/tests", "--capture=sys",
        # They count the hash computations of OpenSSL.
        "-k", "not test_constant_work and not test_the_work_does_not_depend_on_what_matches",
        *given,
    ],
    plugins=[WhatIsMissing()],
)
`;

if (isMainThread) {
  // Tests with deeply nested JSON need more stack than Node gives to its main thread.
  const worker = new Worker(fileURLToPath(import.meta.url), {
    workerData: process.argv.slice(2),
    resourceLimits: { stackSizeMb: 256 },
  });
  worker.on("message", (code) => { process.exitCode = code; });
} else {
  const [folder, packages, ...given] = workerData;
  const module = path.resolve(folder, "node_modules/pyodide/pyodide.mjs");
  const { loadPyodide } = await import(pathToFileURL(module));
  const python = await loadPyodide({ stdout: console.log, stderr: console.error });
  python.mountNodeFS("/repository", fileURLToPath(new URL("../..", import.meta.url)));
  python.mountNodeFS("/packages", path.resolve(packages));
  python.globals.set("given", python.toPy(given.length ? given : TESTS));
  const { parentPort } = await import("node:worker_threads");
  parentPort.postMessage(await python.runPythonAsync(PROGRAM));
}
