// pnpm new merge NAME: the three files of a new merge method, from a template that passes the contract.
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../packages/packages.ts";
import { mergeMethodFiles } from "./merge-template.ts";

const [kind, name] = process.argv.slice(2).filter((word) => word !== "--");
if (kind !== "merge" || name === undefined || !/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name)) {
  console.error("usage: pnpm new merge NAME, the name in kebab-case as it was published");
  process.exit(2);
}
const folder = join(root, "packages/merge/src/methods");
const files = mergeMethodFiles(name);
const taken = files.filter((file) => existsSync(join(folder, file.name)));
if (taken.length > 0) {
  console.error(`there is already ${taken.map((file) => file.name).join(", ")} in packages/merge/src/methods`);
  process.exit(1);
}
for (const file of files) {
  writeFileSync(join(folder, file.name), file.content, { flag: "wx" });
  console.log(`packages/merge/src/methods/${file.name}`);
}
console.log(`
Next: say in ${name}.ts what it computes and where it is published, then
  pnpm gen                              its line in the index, the list of methods and the README
  pnpm vitest run packages/merge/src/methods/${name}.test.ts`);
