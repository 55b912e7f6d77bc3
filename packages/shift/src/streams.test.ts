import { createRandom } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { dirichlet } from "./dirichlet.ts";
import { type StreamSetting, streamBatches } from "./streams.ts";

const domains = ["fog", "snow"].map((name) => ({ name, labels: Array.from({ length: 300 }, (_, i) => i % 10) }));
const all = (setting: StreamSetting, options = {}) => [...streamBatches(setting, domains, options)];
const labelOf = ({ domain, sample }: { domain: number; sample: number }) => domains[domain].labels[sample];

/** Share of neighbours in time that are of one class. */
function runs(setting: StreamSetting, delta?: number): number {
  const labels = all(setting, { delta }).flatMap(({ samples }) => samples.map(labelOf));
  return labels.filter((label, i) => label === labels[i - 1]).length / labels.length;
}

describe("the settings of test streams", () => {
  for (const setting of ["reset", "continual", "mixed", "correlated", "mixed-correlated"] as const) {
    test(`${setting}: every sample once, the same for one seed, another order for another`, () => {
      const keys = (seed: number) =>
        all(setting, { seed, batchSize: 7 }).flatMap(({ samples }) => samples.map((s) => `${s.domain}/${s.sample}`));
      expect(new Set(keys(1)).size).toBe(600);
      expect(keys(1).length).toBe(600);
      expect(keys(1)).toEqual(keys(1));
      expect(keys(1)).not.toEqual(keys(2));
    });
  }

  test("only `reset` starts anew in each domain", () => {
    const resets = (setting: StreamSetting) => all(setting).filter(({ reset }) => reset).length;
    expect(["reset", "continual", "mixed", "correlated"].map((each) => resets(each as StreamSetting))).toEqual([
      2, 1, 1, 1,
    ]);
  });

  test("domains follow one another, or are mixed", () => {
    const changes = (setting: StreamSetting) => {
      const order = all(setting).flatMap(({ samples }) => samples.map(({ domain }) => domain));
      return order.filter((domain, i) => i > 0 && domain !== order[i - 1]).length;
    };
    expect(changes("continual")).toBe(1);
    expect(changes("correlated")).toBe(1);
    expect(changes("mixed")).toBeGreaterThan(200);
  });

  test("classes come in runs where the stream is correlated, the longer the smaller delta", () => {
    expect(runs("continual")).toBeLessThan(0.15);
    expect(runs("correlated", 0.01)).toBeGreaterThan(0.9);
    expect(runs("mixed-correlated", 0.01)).toBeGreaterThan(0.9);
    // Within a slot a class stays together, so even an even spread has runs; a small delta has longer ones.
    expect(runs("correlated", 0.01)).toBeGreaterThan(runs("correlated", 100));
  });

  test("gradual: down from the strongest, then up and down", () => {
    const levels = Array.from({ length: 6 }, (_, i) => ({ name: `${i}`, labels: [0, 1] }));
    const order = [...streamBatches("gradual", levels, { severities: 3 })].map(({ samples }) => samples[0].domain);
    expect(order).toEqual([2, 1, 0, 3, 4, 5, 4, 3]);
    expect(() => [...streamBatches("gradual", levels, { severities: 4 })]).toThrow(
      /every domain in all its severities/,
    );
  });

  test("bad batch sizes and concentrations are refused", () => {
    expect(() => all("mixed", { batchSize: 0 })).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    expect(() => all("correlated", { delta: 0 })).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
  });
});

test("Dirichlet parts sum to 1 with the mean and variance of the distribution", () => {
  const [count, delta, draws] = [4, 0.5, 4000];
  let [mean, square] = [0, 0];
  for (let i = 0; i < draws; i++) {
    const parts = dirichlet(count, delta, createRandom(i, "dirichlet"));
    expect(parts.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
    mean += parts[0] / draws;
    square += parts[0] ** 2 / draws;
  }
  expect(mean).toBeCloseTo(1 / count, 1.5);
  // Var = (1/k)(1 − 1/k) / (kδ + 1)
  expect(square - mean ** 2).toBeCloseTo(((1 / count) * (1 - 1 / count)) / (count * delta + 1), 1.9);
});
