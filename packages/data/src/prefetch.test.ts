import { describe, expect, test } from "vitest";
import { mapAhead, prefetch } from "./prefetch.ts";

const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of source) all.push(item);
  return all;
}

describe("prefetch", () => {
  test("gives every item in order and stays at most `ahead` in front", async () => {
    let made = 0;
    async function* source() {
      for (let i = 0; i < 6; i++) {
        made++;
        yield i;
      }
    }
    const taken: number[] = [];
    for await (const item of prefetch(source(), { ahead: 2 })) {
      taken.push(item);
      await tick(1);
      expect(made - taken.length).toBeLessThanOrEqual(2);
      if (taken.length < 4) expect(made - taken.length).toBe(2);
    }
    expect(taken).toEqual([0, 1, 2, 3, 4, 5]);
  });

  test("works on several items at once, results in order", async () => {
    let [running, most] = [0, 0];
    const results = await collect(
      mapAhead(
        [30, 5, 20, 1],
        async (ms) => {
          most = Math.max(most, ++running);
          await tick(ms);
          running--;
          return ms;
        },
        { ahead: 2 },
      ),
    );
    expect(results).toEqual([30, 5, 20, 1]);
    expect(most).toBe(3);
  });

  test("a fault comes where its item would have come, and the source is ended", async () => {
    let ended = false;
    function* source() {
      try {
        yield 1;
        yield 2;
        yield 3;
      } finally {
        ended = true;
      }
    }
    const taken: number[] = [];
    const run = async () => {
      for await (const item of mapAhead(source(), async (x) => (x === 2 ? Promise.reject(new Error("two")) : x)))
        taken.push(item);
    };
    await expect(run()).rejects.toThrow("two");
    expect(taken).toEqual([1]);
    expect(ended).toBe(true);
  });

  test("leaving the loop ends the source", async () => {
    let ended = false;
    async function* source() {
      try {
        for (let i = 0; ; i++) yield i;
      } finally {
        ended = true;
      }
    }
    for await (const item of prefetch(source())) if (item === 3) break;
    expect(ended).toBe(true);
  });

  test("a bad distance is refused", async () => {
    await expect(collect(prefetch([1], { ahead: -1 }))).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});
