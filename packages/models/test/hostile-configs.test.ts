import { LoomweightError } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { readFamilyConfig } from "../src/build.ts";
import { buildModel, detectTask, familyOf, readConfigFields } from "../src/index.ts";
import { publishedConfigs } from "./published-configs.ts";
import { folderOf, tinyLlama, withConfig } from "./tiny-models.ts";

/** What a field may hold in a file that wishes harm. */
const values: readonly unknown[] = [
  null,
  "",
  "12",
  "toString",
  "__proto__",
  true,
  0,
  -1,
  1.5,
  1e9,
  2 ** 53,
  1e308,
  -1e308,
  [],
  [null],
  [1e308],
  Array(10_000).fill(7),
  Array(10_000).fill("full_attention"),
  {},
  { rope_type: "yarn", factor: 1e308 },
  { type: "longrope", short_factor: Array(10_000).fill(1), long_factor: [0] },
];

/** Passes a named refusal on as its code; anything else that is thrown fails the test. */
function outcome(work: () => unknown): string {
  try {
    work();
    return "read";
  } catch (cause) {
    if (!(cause instanceof LoomweightError)) throw cause;
    return cause.code;
  }
}

describe("every field of a configuration may hold anything: it is read or refused by name", () => {
  for (const [name, config] of Object.entries(publishedConfigs)) {
    test(name, { timeout: 60_000 }, () => {
      const family = familyOf({ location: "model", config });
      const began = performance.now();
      const codes = new Set<string>();
      const nested = Object.entries(config).filter(([, value]) => typeof value === "object" && value !== null);
      const places: ((value: unknown) => Record<string, unknown>)[] = [
        ...Object.keys(config).map((field) => (value: unknown) => ({ ...config, [field]: value })),
        ...nested.flatMap(([outer, inner]) =>
          Object.keys(inner as object).map((field) => (value: unknown) => ({
            ...config,
            [outer]: { ...(inner as object), [field]: value },
          })),
        ),
        ...["rope_scaling", "rope_parameters", "layer_types", "quantization_config", "head_dim"].map(
          (field) => (value: unknown) => ({ ...config, [field]: value }),
        ),
      ];
      for (const at of places) {
        for (const value of values) {
          const changed = at(value);
          codes.add(outcome(() => readFamilyConfig(family, readConfigFields(changed, "config.json"), [])));
          codes.add(outcome(() => detectTask({ location: "model", config: changed })));
        }
      }
      expect(
        [...codes].filter((code) => !/^(read|INVALID_CONFIG|UNKNOWN_CONFIG_FIELD|UNKNOWN_FAMILY)$/.test(code)),
      ).toEqual([]);
      expect(codes).toContain("INVALID_CONFIG");
      expect(performance.now() - began).toBeLessThan(30_000);
    });
  }
});

test("a graph is not begun for what the weights do not hold", { timeout: 60_000 }, async () => {
  const before = process.memoryUsage().rss;
  const began = performance.now();
  const sizes = ["num_hidden_layers", "hidden_size", "vocab_size", "intermediate_size", "num_attention_heads"];
  for (const field of [...sizes, "num_key_value_heads", "head_dim", "max_position_embeddings"]) {
    for (const value of values) {
      const folder = await folderOf(withConfig(tinyLlama, { [field]: value }));
      await buildModel(folder).catch((cause: unknown) => {
        if (!(cause instanceof LoomweightError)) throw new Error(`${field} ${JSON.stringify(value)}`, { cause });
      });
    }
  }
  expect(performance.now() - began).toBeLessThan(30_000);
  expect(process.memoryUsage().rss - before).toBeLessThan(512 * 2 ** 20);
});
