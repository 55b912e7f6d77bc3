// Runs a root script through the pinned pnpm, installing and building first: the only entry that plain npm needs.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const { packageManager } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
const [script, ...rest] = process.argv.slice(2);

function pnpm(...args) {
  const npx = process.platform === "win32" ? "npx.cmd" : "npx";
  const environment = { ...process.env, ONNXRUNTIME_NODE_INSTALL: "skip" };
  // npm exports its own configuration; pnpm would read it and warn about every key it does not know.
  for (const name of Object.keys(environment))
    if (/^npm_(config_(user_agent|npm_version|node_gyp)|lifecycle|package)/i.test(name)) delete environment[name];
  const result = spawnSync(npx, ["--yes", packageManager, ...args], {
    cwd: root,
    stdio: "inherit",
    env: environment,
    shell: process.platform === "win32",
  });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

pnpm("install", "--frozen-lockfile", "--reporter=append-only");
pnpm("run", "build", "--output-logs=errors-only");
pnpm("run", script, ...rest);
