import { expect, test } from "vitest";
import { torchGenerator, torchPermutation } from "./torch-random.ts";

test("the numbers of mt19937 with its usual seed", () => {
  const { next } = torchGenerator(5489);
  expect([next(), next(), next(), next(), next()]).toEqual([3499211612, 581869302, 3890346734, 3586334585, 545404204]);
  for (let i = 5; i < 9999; i++) next();
  expect(next()).toBe(4123659995); // the 10000th, which the C++ standard names
});

// torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:k] of PyTorch
test.for([
  [1024, 8, 777, [103, 249, 319, 701, 999, 360, 217, 998]],
  [7, 7, 0, [4, 0, 5, 3, 2, 6, 1]],
  [100003, 6, 123456789, [31756, 20567, 76312, 98140, 35515, 41670]],
  [10, 10, 2 ** 32 + 5, [1, 4, 9, 6, 3, 5, 0, 2, 8, 7]],
  [5, 5, -3, [1, 4, 0, 3, 2]],
] as const)("randperm(%i)[:%i] with seed %i", ([length, count, seed, expected]) => {
  expect([...torchPermutation(length, count, seed)]).toEqual(expected);
});

test("a permutation that PyTorch draws another way is refused", () => {
  expect(() => torchPermutation(214_748_364, 1, 0)).toThrow(expect.objectContaining({ code: "UNSUPPORTED_SIZE" }));
});
