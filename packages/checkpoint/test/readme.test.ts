import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import * as checkpoint from "../src/index.ts";
import * as node from "../src/node/index.ts";

test("the example of the README runs as it is printed", async () => {
  const root = mkdtempSync(join(tmpdir(), "loomweight-readme-"));
  const lines: unknown[] = [];
  try {
    await node.withOutputFolder(join(root, "models", "base"), {}, async (output) => {
      const weights = new Map([["t", fromData("float32", new Float32Array([1, 2, 3]), [3])]]);
      await output.writeFile("model.safetensors", checkpoint.writeSafetensors(weights));
      await output.writeFile("config.json", "{}");
    });
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
    const example = /## Example\n\n```ts\n([\s\S]*?)```/.exec(readme)?.[1] as string;
    const body = example
      .replace(/import \{([^}]*)\} from "@loomweight\/checkpoint";/, "const {$1} = packageMain;")
      .replace(/import \{([^}]*)\} from "@loomweight\/checkpoint\/node";/, "const {$1} = packageNode;")
      .replaceAll('"models/', `"${root}/models/`);
    const AsyncFunction = (async () => undefined).constructor as new (
      ...parts: string[]
    ) => (...values: unknown[]) => Promise<void>;
    const run = new AsyncFunction("packageMain", "packageNode", "console", body);
    await run(checkpoint, node, { log: (value: unknown) => lines.push(value) });
    expect(lines).toEqual([3, true]);
    expect(readdirSync(join(root, "models", "copy")).sort()).toEqual(["config.json", "model.safetensors"]);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
