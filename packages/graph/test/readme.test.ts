import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tensors from "@loomweight/tensor";
import { expect, test } from "vitest";
import * as graph from "../src/index.ts";
import * as node from "../src/node/index.ts";

const expected: Record<string, unknown[]> = { Example: [Float32Array.of(0, 0)], Training: ["3.000"] };

test.each(Object.keys(expected))("the example under %s runs as it is printed", async (heading) => {
  const folder = mkdtempSync(join(tmpdir(), "loomweight-readme-"));
  const lines: unknown[] = [];
  try {
    const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
    const example = new RegExp(`## ${heading}\\n[^#]*?\`\`\`ts\\n([\\s\\S]*?)\`\`\``).exec(readme)?.[1] as string;
    const body = example
      .replace(/import \{([^}]*)\} from "@loomweight\/(tensor|graph|graph\/node)";/g, (_, names, from) => {
        return `const {${names}} = packages["${from}"];`;
      })
      .replaceAll('"example.onnx"', JSON.stringify(join(folder, "example.onnx")));
    const AsyncFunction = (async () => undefined).constructor as new (
      ...parts: string[]
    ) => (...values: unknown[]) => Promise<void>;
    const packages = { tensor: tensors, graph, "graph/node": node };
    await new AsyncFunction("packages", "console", body)(packages, { log: (value: unknown) => lines.push(value) });
    expect(lines).toEqual(expected[heading]);
    expect(existsSync(join(folder, "example.onnx"))).toBe(heading === "Example");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
