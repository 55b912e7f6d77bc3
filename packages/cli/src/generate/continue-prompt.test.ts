import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtureArea } from "@loomweight/fixtures";
import { openSession } from "@loomweight/graph/node";
import { exportFolder } from "@loomweight/onnx-export/node";
import { fromData, zeros } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { likeliestToken } from "./choose-token.ts";
import { continuePrompt } from "./continue-prompt.ts";

const area = fixtureArea("architectures");

test.skipIf(area === undefined)(
  "token by token with the cache: what the whole text gives at once (fixtures)",
  async () => {
    const root = await mkdtemp(join(tmpdir(), "loomweight-continue-"));
    await exportFolder(join(area ?? "", "llama"), join(root, "web"), { dtypes: ["fp32"], verify: false });
    const session = await openSession(join(root, "web", "onnx", "model.onnx"), { threads: 1 });
    const prompt = [5, 9, 40, 7, 22];
    const made: number[] = [];
    for await (const id of continuePrompt(session, prompt, { maxNewTokens: 6, endTokens: new Set() })) made.push(id);
    const text = [...prompt];
    while (text.length < prompt.length + 6) {
      const row = (value: (i: number) => number) =>
        fromData(
          "int64",
          BigInt64Array.from(text, (_, i) => BigInt(value(i))),
          [1, text.length],
        );
      const known = { input_ids: row((i) => text[i]), attention_mask: row(() => 1), position_ids: row((i) => i) };
      const feeds = session.inputs.map(({ name, dtype, shape }) => [
        name,
        name in known
          ? known[name as keyof typeof known]
          : name === "num_logits_to_keep"
            ? fromData("int64", BigInt64Array.of(1n), [])
            : zeros([1, Number(shape[1]), 0, Number(shape[3])], dtype),
      ]);
      const { logits } = await session.run(Object.fromEntries(feeds));
      text.push(likeliestToken((logits.data as Float32Array).subarray(-(logits.shape.at(-1) as number))));
    }
    expect(made).toEqual(text.slice(prompt.length));
    expect(new Set(made).size).toBeGreaterThan(1);
    await session.close();
    await rm(root, { recursive: true, force: true });
  },
);
