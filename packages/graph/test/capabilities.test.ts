import { expect, test } from "vitest";
import { capabilities } from "../src/capabilities/generated.ts";
import { opTables, providersOf } from "../src/index.ts";

test("providers are told by op, domain and dtype, as they were measured", () => {
  expect(providersOf("MatMul")).toEqual(["cpu", "wasm", "webgpu"]);
  expect(providersOf("Sign")).toEqual(["cpu", "wasm"]);
  expect(providersOf("LogSoftmax")).toEqual(["cpu", "wasm"]);
  expect(providersOf("MatMul", { dtype: "float64" })).toEqual(["cpu", "wasm"]);
  expect(providersOf("Add", { dtype: "int64" })).toEqual(["cpu", "wasm"]); // none on WebGPU
  expect(providersOf("Add", { dtype: "bool" })).toEqual([]);
  expect(providersOf("MatMulNBits", { domain: "com.microsoft" })).toEqual(["cpu", "wasm", "webgpu"]);
  expect(providersOf("Where")).toEqual(["cpu", "wasm", "webgpu"]); // by what it chooses between, not the condition
  // Training mode has no WebGPU kernel.
  expect(providersOf("BatchNormalization")).toEqual(["cpu", "wasm"]);
  expect(providersOf("BatchNormalization", { partly: true })).toContain("webgpu");
  expect(providersOf("Mystery")).toBeUndefined();
  expect(providersOf("__proto__", { domain: "__proto__" })).toBeUndefined();
});

test("every op that has samples was probed, and runs somewhere", () => {
  const missing: string[] = [];
  for (const [domain, table] of Object.entries(opTables())) {
    for (const [op, rule] of Object.entries(table)) {
      if (rule.samples.length > 0 && capabilities[domain]?.[op] === undefined) missing.push(`${domain} ${op}`);
    }
  }
  expect(missing, "run packages/graph/scripts/capabilities/run.ts --missing").toEqual([]);
  const nowhere = Object.values(capabilities).flatMap((table) =>
    Object.entries(table).flatMap(([op, row]) => (row.cpu === "" ? [op] : [])),
  );
  expect(nowhere).toEqual([]);
});
