import { expect, test } from "vitest";
import { mergeContract } from "../../test/contract.ts";
import { expectClose, runMerge, values } from "../../test/support.ts";
import { multislerp } from "./multislerp.ts";

const base = values([1, -0.5, 0.25, 2], [2, 2]);
const first = values([1.4, -0.3, 0.25, 1.5], [2, 2]);
const second = values([0.7, -0.1, 0.85, 2.3], [2, 2]);
const third = values([1.1, -0.9, 0.35, 2.2], [2, 2]);

mergeContract(multislerp);

test("worked example of the card", async () => {
  expectClose(
    await runMerge(multislerp, { models: [first, second, third], weights: [1, 1, 2] }, {}),
    [1.13078, -0.549758, 0.45665, 2.08993],
    1e-5,
  );
});

test("with a base it turns task vectors", async () => {
  expectClose(
    await runMerge(multislerp, { base, models: [first, second, third], weights: [1, 1, 2] }, {}),
    [1.24138, -0.837787, 0.665628, 2.16938],
    1e-5,
  );
});

test("directions that cancel: two models are summed, three refused", async () => {
  const minus = values([-1.4, 0.3, -0.25, -1.5], [2, 2]);
  expectClose(await runMerge(multislerp, { models: [first, minus] }), [0, 0, 0, 0]);
  const zero = values([0, 0, 0, 0], [2, 2]);
  await expect(runMerge(multislerp, { models: [zero, zero, zero] })).rejects.toMatchObject({ code: "NO_DIRECTION" });
});
