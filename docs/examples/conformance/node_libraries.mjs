// A program that speaks JSON lines: otplib or speakeasy, as their documentation uses them.
//
//     npm install otplib@13 speakeasy@2
//     vmfa conformance run --program "node node_libraries.mjs otplib"

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";

const folder = process.argv[3] ?? process.cwd(); // where npm installed the packages
const load = createRequire(join(folder, "package.json"));
const name = process.argv[2];
const library = load(name);
const manifest = join(folder, "node_modules", name, "package.json");
const { version } = JSON.parse(readFileSync(manifest, "utf8"));

const verify = {
  otplib: async (secret, token, epoch) => (await library.verify({ secret, token, epoch })).valid,
  speakeasy: async (secret, token, time) =>
    library.totp.verify({ secret, encoding: "base32", token, time }),
}[name];

let now = 0;
const secrets = new Map();

const operations = {
  describe: () => ({ name, version, capabilities: ["reset", "time", "provision"] }),
  reset: () => {
    secrets.clear();
    return { result: "accepted" };
  },
  set_time: (request) => {
    now = request.now;
    return { result: "accepted" };
  },
  provision: ({ user, secret, ...parameters }) => {
    if (Object.keys(parameters).length > 0) return { result: "unsupported" };
    secrets.set(user, secret);
    return { result: "accepted" };
  },
  verify: async ({ user, code }) => {
    if (!secrets.has(user)) return { result: "rejected" };
    try {
      const accepted = await verify(secrets.get(user), code, now);
      return { result: accepted ? "accepted" : "rejected" };
    } catch (error) {
      const malformed = error.message.startsWith("Token "); // otplib says what a code must be
      return { result: malformed ? "malformed" : "failed", text: error.message };
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const operation = operations[request.operation] ?? (() => ({ result: "unsupported" }));
  const answer = await operation(request.arguments);
  console.log(JSON.stringify({ id: request.id, ...answer }));
}
