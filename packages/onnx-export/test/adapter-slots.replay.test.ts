import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import type { Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  type AdapterControl,
  type AdapterSlots,
  addAdapters,
  createAdapterSession,
  parseAdapterSlots,
  type SlotLayout,
} from "../src/index.ts";
import { decoderFeeds, greedy, int64, maxDifference, withExport, withSession } from "./exported.ts";

// of the family's README
const logitTolerance = 1e-3;
const area = fixtureArea("models") ?? "";
const scribe = join(area, "scribe");

interface Recorded {
  readonly logits: string;
  readonly greedy_ids: readonly number[];
  readonly greedy_text: string;
}
interface ScribeRecord {
  readonly prompts: readonly { readonly name: string; readonly text: string; readonly ids: readonly number[] }[];
  readonly models: Readonly<Record<string, { readonly prompts: readonly Recorded[] }>>;
  readonly adapters: Readonly<Record<string, { readonly unmerged_peft: { readonly prompts: readonly Recorded[] } }>>;
}

const all = fixtureCases("models", { within: "scribe", marker: "adapter_config.json" });
const served = all.filter((name) => !name.includes("miss"));
const expected = existsSync(join(scribe, "expected.json"))
  ? readFixtureJson<ScribeRecord>(join(scribe, "expected.json"))
  : undefined;

/** What the base model, or an adapter on it before any folding, was recorded to give. */
function recorded(name: string | undefined): readonly Recorded[] {
  if (name === undefined) return expected?.models["scribe-base"].prompts ?? [];
  return expected?.adapters[name].unmerged_peft.prompts ?? [];
}

async function withSlots(layout: SlotLayout, use: (folder: string, slots: AdapterSlots) => Promise<void>) {
  const options = { adapterSlots: { layout } };
  await withExport(
    join(scribe, "scribe-base"),
    async (folder) => {
      const file = join(folder, "adapter_slots.json");
      await use(folder, parseAdapterSlots(JSON.parse(await readFile(file, "utf8"))));
    },
    ["fp32"],
    options,
  );
}

async function loadAll(adapters: AdapterControl): Promise<void> {
  const base = await openModel(join(scribe, "scribe-base"));
  for (const name of served) {
    const adapter = await openAdapterFolder(join(scribe, name));
    expect(await adapters.load(name, adapter, { base })).toEqual([]);
    await adapter.checkpoint.close();
  }
  await base.close();
}

describe.skipIf(expected === undefined || served.length === 0)("adapters of scribe in the slots of its base", () => {
  test("give the logits and greedy tokens that PEFT gave unmerged, one after another in one session", {
    timeout: 300_000,
  }, async () => {
    const logits = readFixtureTensors(join(scribe, "expected.safetensors"));
    await withSlots("single", async (folder, slots) => {
      await withSession(folder, "fp32", async (raw) => {
        const session = createAdapterSession(raw, slots);
        await loadAll(session);
        for (const name of [undefined, ...served, undefined]) {
          session.use(name);
          for (const [index, { ids }] of expected?.prompts.entries() ?? []) {
            const record = recorded(name)[index];
            const outputs = await session.run(decoderFeeds(session, int64(ids, [1, ids.length])));
            const reference = logits.get(record.logits) as Tensor;
            expect(maxDifference(outputs.logits, reference), `${name} ${index}`).toBeLessThanOrEqual(logitTolerance);
            expect(await greedy(session, ids, 32), `${name} ${index}`).toEqual(record.greedy_ids);
          }
        }
      });
    });
  });

  test("write the recorded texts through transformers.js' pipeline, alone and side by side in one batch", {
    timeout: 300_000,
  }, async () => {
    const { env, pipeline, Tensor } = await import("@huggingface/transformers");
    env.allowRemoteModels = false;
    env.useFSCache = false;
    const texts = expected?.prompts.map(({ text }) => text) ?? [];
    const options = { max_new_tokens: 32, do_sample: false, return_full_text: false };
    for (const layout of ["single", "rows"] as const) {
      await withSlots(layout, async (folder, slots) => {
        env.localModelPath = dirname(dirname(folder));
        const name = `${basename(dirname(folder))}/${basename(folder)}`;
        const write = await pipeline("text-generation", name, { dtype: "fp32", device: "cpu" });
        const adapters = addAdapters(write.model, slots, { Tensor: Tensor as never });
        await loadAll(adapters);
        const choices = [undefined, ...served];
        for (const choice of choices) {
          adapters.use(choice);
          const [{ generated_text: made }] = (await write(texts[0], options)) as { generated_text: string }[];
          expect(made, choice).toBe(recorded(choice)[0].greedy_text);
        }
        if (layout === "rows") {
          const rows = texts.map((_, i) => choices[(i + 1) % choices.length]);
          adapters.use(rows);
          const made = (await write(texts, options)) as unknown as { generated_text: string }[][];
          const expectedTexts = rows.map((choice, i) => recorded(choice)[i].greedy_text);
          expect(made.map(([{ generated_text: text }]) => text)).toEqual(expectedTexts);
        }
        await write.dispose();
      });
    }
  });

  for (const name of all.filter((each) => !served.includes(each))) {
    test(`${name} is refused by name: its method is not low-rank`, async () => {
      await withSlots("single", async (folder, slots) => {
        await withSession(folder, "fp32", async (raw) => {
          const adapter = await openAdapterFolder(join(scribe, name));
          const loading = createAdapterSession(raw, slots).load(name, adapter);
          await expect(loading).rejects.toMatchObject({ code: "UNSUPPORTED_ADAPTER" });
          await adapter.checkpoint.close();
        });
      });
    });
  }
});
