import { writeSafetensors } from "@loomweight/checkpoint";
import { tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { decodeState, encodeState } from "./index.ts";

test("a state comes back from its bytes: tensors, numbers, texts", async () => {
  const state = {
    "parameter/fc.weight": tensor([1, 2, 3, 4], [2, 2]),
    "optimizer/exp_avg/fc.weight": tensor([0.5], undefined, "float64"),
    updates: 12,
    note: "é",
    whole: true,
  };
  expect(await decodeState(encodeState(state))).toEqual(state);
  expect(await decodeState(encodeState({}))).toEqual({});
});

test("other files are refused by name", async () => {
  const refused = (metadata: Record<string, string>) =>
    expect(decodeState(writeSafetensors(new Map(), { metadata }))).rejects.toMatchObject({ code: "NOT_A_STATE" });
  await refused({});
  await refused({ "loomweight.shift": "{" });
  await refused({ "loomweight.shift": "[1]" });
  await refused({ "loomweight.shift": '{"updates":{}}' });
  await expect(decodeState(Uint8Array.of(1, 2, 3))).rejects.toMatchObject({ code: expect.any(String) });
});
