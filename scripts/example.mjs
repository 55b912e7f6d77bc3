// npm run example NAME [argument…]: runs examples/NAME.ts.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = new URL("../examples/", import.meta.url);
const [name, ...rest] = process.argv.slice(2).filter((word) => word !== "--");
const file = new URL(`${name}.ts`, folder);

if (name === undefined || !/^[\w-]+$/.test(name) || !existsSync(file)) {
  // An example says in its first lines what it does.
  const known = readdirSync(folder)
    .filter((each) => each.endsWith(".ts"))
    .map((each) => ({ each, first: readFileSync(new URL(each, folder), "utf8").split("\n")[0] }))
    .filter(({ first }) => first.startsWith("// "));
  console.error("usage: npm run example NAME\n");
  for (const { each, first } of known) console.error(`  ${each.slice(0, -3).padEnd(16)}${first.slice(3)}`);
  process.exit(2);
}
const { status } = spawnSync(process.execPath, ["--import", "tsx", fileURLToPath(file), ...rest], { stdio: "inherit" });
process.exit(status ?? 1);
