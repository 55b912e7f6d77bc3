import { assemble, input } from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { sessionOf } from "../../test/run.ts";
import { readConfigFields } from "../config-reader.ts";
import type { Module } from "./module.ts";
import { rotationAt } from "./rope.ts";
import { type RopeDefaults, readRope } from "./rope-config.ts";

// Cosines and sines that the rotary embeddings of transformers 5.18 give at the last position: Llama's with heads of 16,
// and Phi-3's, which turn 12 of 16.
interface Case {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly defaults?: Partial<RopeDefaults>;
  readonly position: number;
  readonly cos: readonly number[];
  readonly sin: readonly number[];
}

const longrope = {
  max_position_embeddings: 512,
  original_max_position_embeddings: 64,
  partial_rotary_factor: 0.75,
  rope_scaling: { type: "su", short_factor: [1, 1.1, 1.2, 1.3, 1.4, 1.5], long_factor: [1, 2, 3, 5, 8, 12] },
};
const phi3 = { partial: 1, aliases: { su: "longrope" } };
const scaled = (parameters: Readonly<Record<string, unknown>>) => ({
  max_position_embeddings: 64,
  rope_parameters: { rope_theta: 10000, ...parameters },
});

const cases: readonly Case[] = [
  {
    name: "linear",
    config: scaled({ rope_type: "linear", factor: 4 }),
    position: 37,
    cos: [-0.9847652, -0.9766583, 0.6018346, 0.9575229, 0.9957249, 0.9995722, 0.9999572, 0.9999957],
    sin: [0.1738895, 0.2147989, 0.7986208, 0.2883572, 0.0923681, 0.0292469, 0.0092499, 0.0029251],
  },
  {
    name: "yarn",
    config: scaled({ rope_type: "yarn", factor: 4, original_max_position_embeddings: 512 }),
    position: 37,
    cos: [0.871523, -1.1348203, -0.7691954, 0.9926782, 1.1337616, 1.1381423, 1.1385807, 1.1386245],
    sin: [-0.7327514, -0.0930583, 0.8395328, 0.5577338, 0.1051731, 0.0333014, 0.0105322, 0.0033306],
  },
  {
    name: "yarn with every option",
    config: scaled({
      rope_type: "yarn",
      factor: 4,
      original_max_position_embeddings: 512,
      mscale: 0.7,
      mscale_all_dim: 0.3,
      beta_fast: 16,
      beta_slow: 2,
      truncate: false,
    }),
    position: 37,
    cos: [0.806163, 0.6824155, -0.9922369, 0.9703191, 1.048735, 1.0527871, 1.0531926, 1.0532331],
    sin: [-0.6777986, -0.8022584, 0.353236, 0.4096223, 0.0972856, 0.0308039, 0.0097423, 0.0030808],
  },
  {
    name: "dynamic within the trained length",
    config: scaled({ rope_type: "dynamic", factor: 2 }),
    position: 37,
    cos: [0.7654141, 0.6479217, -0.8481, 0.3901123, 0.9323273, 0.9931628, 0.9993156, 0.9999316],
    sin: [-0.6435381, -0.7617069, -0.5298362, 0.9207673, 0.3616154, 0.1167375, 0.0369916, 0.0117002],
  },
  {
    name: "dynamic beyond it",
    config: scaled({ rope_type: "dynamic", factor: 2 }),
    position: 150,
    cos: [0.6992508, -0.0493886, -0.6356489, -0.9047929, 0.7595401, 0.9828188, 0.9988163, 0.9999186],
    sin: [-0.7148764, 0.9987797, -0.7719783, 0.4258519, 0.6504605, 0.1845728, 0.0486416, 0.0127551],
  },
  {
    name: "longrope within the trained length",
    config: longrope,
    defaults: phi3,
    position: 37,
    cos: [0.937437, 0.6988502, 0.170468, 1.1754731, 1.2227601, 1.2246646],
    sin: [-0.78817, 1.0057875, 1.2128235, 0.3438941, 0.0696976, 0.0140221],
  },
  {
    name: "longrope beyond it",
    config: longrope,
    defaults: phi3,
    position: 150,
    cos: [0.8564039, -1.1026608, -0.8348316, 1.1700436, 1.2237457, 1.2247243],
    sin: [-0.8755413, -0.5330473, 0.8961341, 0.3619369, 0.0494609, 0.0071059],
  },
];

const plain = {
  fused: new Set<never>(),
  cpuOnly: false,
  gpuOnly: false,
  weights: { dtype: "float32" } as Module["weights"],
};

for (const { name, config, defaults, position, cos, sin } of cases) {
  test(`${name}: cosines and sines are those of the reference`, async () => {
    const rope = readRope(readConfigFields(config, "config.json"), { theta: 10000, ...defaults });
    const positionIds = input("position_ids", "int64", ["batch_size", "sequence_length"]);
    const rotation = rotationAt(plain, { ids: positionIds, most: 256 }, rope, 16);
    expect(rotation.size).toBe(2 * cos.length);
    const outputs = { cos: rotation.cos, sin: rotation.sin };
    const session = await sessionOf(assemble({ name: "rope", inputs: [positionIds], outputs }));
    const made = await session.run({ position_ids: fromData("int64", BigInt64Array.of(0n, BigInt(position)), [1, 2]) });
    for (const [key, expected] of Object.entries({ cos, sin })) {
      const last = Array.from(made[key].data as Float32Array).slice(-expected.length);
      // float32 sines of angles up to 150: 150 · 2^-24 is 1e-5
      for (const [i, value] of expected.entries())
        expect(Math.abs(last[i] - value), `${key} ${i}`).toBeLessThanOrEqual(1e-5);
    }
    await session.close();
  });
}

test("factors of longrope that do not fit the head are refused", () => {
  const rope = readRope(readConfigFields(longrope, "config.json"), { theta: 10000, ...phi3 });
  const positionIds = input("position_ids", "int64", ["batch_size", "sequence_length"]);
  expect(() => rotationAt(plain, { ids: positionIds, most: 256 }, rope, 32)).toThrow(/short_factor.*12 numbers/);
});
