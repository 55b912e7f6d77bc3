import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtureArea, fixtureCases } from "@loomweight/fixtures";
import { describe, expect, test } from "vitest";
import type { ExportDType } from "../src/index.ts";
import { exportFolder } from "../src/node/index.ts";

// Random weights have no structure that a quantizer could keep: these bounds tell a broken file from a coarse one.
const limits: Readonly<Partial<Record<ExportDType, number>>> = { fp32: 0, fp16: 0.02, q8: 0.35, q4: 1 };
const dtypes = Object.keys(limits) as ExportDType[];

const area = fixtureArea("architectures");

describe.skipIf(area === undefined)("every architecture is exported", () => {
  for (const name of fixtureCases("architectures", { marker: "expected.json" })) {
    test(`${name}: all files run, and are near fp32`, { timeout: 120_000 }, async () => {
      const root = await mkdtemp(join(tmpdir(), "loomweight-export-"));
      try {
        const report = await exportFolder(join(area ?? "", name), join(root, "web"), { dtypes });
        const files = await readdir(join(root, "web/onnx"));
        expect(files.length).toBe(report.files.length);
        for (const { dtype, name: file, graph, verification } of report.files) {
          expect(files).toContain(file.slice("onnx/".length));
          expect(file.startsWith(`onnx/${graph}`)).toBe(true);
          const { ran, maxDifference = Number.POSITIVE_INFINITY, largest = 0 } = verification;
          expect(ran, `${file}: ${verification.reason}`).toBe(true);
          expect(maxDifference, `${file} (largest ${largest})`).toBeLessThanOrEqual((limits[dtype] ?? 0) * largest);
        }
      } finally {
        await rm(root, { recursive: true, force: true });
      }
    });
  }
});
