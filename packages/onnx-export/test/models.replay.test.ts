import { join } from "node:path";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import type { Session } from "@loomweight/graph/node";
import { fromData, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import type { ExportDType } from "../src/index.ts";
import {
  crossEntropy,
  decoderFeeds,
  greedy,
  int64,
  largestAt,
  maxDifference,
  replayed,
  withExport,
  withSession,
} from "./exported.ts";

// Tolerances are those of the families' READMEs; q8 and q4 are reported, and bounded so that a broken one fails.
const logitTolerance = 1e-3;
const area = fixtureArea("models") ?? "";

/** Result by dtype, printed beside the recorded number. */
type Table = Record<string, Record<string, number>>;

describe.skipIf(area === "")("scribe", () => {
  const folder = join(area, "scribe");
  const members = fixtureCases("models", { within: "scribe", marker: "config.json" });
  for (const name of members) {
    test(`${name}: logits, greedy tokens and loss of the exported graphs`, { timeout: 300_000 }, async () => {
      const expected = readFixtureJson<ScribeRecord>(join(folder, "expected.json"));
      const logits = readFixtureTensors(join(folder, "expected.safetensors"));
      const evaluation = readFixtureTensors(join(folder, "eval.safetensors"));
      const record = expected.models[name];
      const table: Table = Object.fromEntries(
        Object.entries(record.loss).map(([domain, loss]) => [domain, { recorded: loss }]),
      );
      await withExport(join(folder, name), async (exported) => {
        for (const dtype of replayed) {
          await withSession(exported, dtype, async (session) => {
            for (const [domain, ids] of evaluation) table[domain][dtype] = await textLoss(session, ids);
            if (dtype !== "fp32") return;
            for (const [index, prompt] of expected.prompts.entries()) {
              const { logits: key, greedy_ids: ids } = record.prompts[index];
              const feeds = decoderFeeds(session, int64(prompt.ids, [1, prompt.ids.length]));
              const outputs = await session.run(feeds, { outputs: ["logits"] });
              const reference = logits.get(key) as Tensor;
              expect(maxDifference(outputs.logits, reference), prompt.name).toBeLessThanOrEqual(logitTolerance);
              expect(await greedy(session, prompt.ids, ids.length), prompt.name).toEqual(ids);
            }
          });
        }
      });
      report(`${name}: loss in nats per token`, table);
      for (const [domain, row] of Object.entries(table)) {
        expect(Math.abs(row.fp32 - row.recorded), `fp32 ${domain}`).toBeLessThanOrEqual(1e-3);
        expect(Math.abs(row.q8 - row.recorded), `q8 ${domain}`).toBeLessThanOrEqual(0.02);
        expect(Math.abs(row.q4 - row.recorded), `q4 ${domain}`).toBeLessThanOrEqual(0.05);
      }
    });
  }
});

interface ScribeRecord {
  readonly prompts: readonly { readonly name: string; readonly ids: readonly number[] }[];
  readonly models: Readonly<
    Record<
      string,
      {
        readonly loss: Readonly<Record<string, number>>;
        readonly prompts: readonly { readonly logits: string; readonly greedy_ids: readonly number[] }[];
      }
    >
  >;
}

/** Mean loss of predicting each next token of the windows [windows, tokens]. */
async function textLoss(session: Session, windows: Tensor): Promise<number> {
  const [count, width] = windows.shape;
  const ids = Array.from(windows.data as Int32Array);
  let sum = 0;
  for (let from = 0; from < count; from += 12) {
    const rows = Math.min(12, count - from);
    const batch = ids.slice(from * width, (from + rows) * width);
    const { logits } = await session.run(decoderFeeds(session, int64(batch, [rows, width])), { outputs: ["logits"] });
    const vocabulary = logits.shape[2];
    for (let i = 0; i < batch.length; i++) {
      if (i % width === width - 1) continue;
      sum += crossEntropy(logits.data as Float32Array, i * vocabulary, vocabulary, batch[i + 1]);
    }
  }
  return sum / (count * (width - 1));
}

interface ClassifierRecord {
  readonly models: Readonly<
    Record<
      string,
      {
        readonly domains: Readonly<Record<string, { readonly correct: number; readonly loss: number }>>;
        readonly logits: readonly string[] | Readonly<Record<string, string>>;
      }
    >
  >;
  readonly prompts?: readonly { readonly ids: readonly number[] }[];
}

describe.skipIf(area === "")("sorter", () => {
  const folder = join(area, "sorter");
  for (const name of fixtureCases("models", { within: "sorter", marker: "config.json" })) {
    test(`${name}: logits, loss and correct rows of the exported graphs`, { timeout: 120_000 }, async () => {
      const expected = readFixtureJson<ClassifierRecord>(join(folder, "expected.json"));
      const evaluation = readFixtureTensors(join(folder, "eval.safetensors"));
      const logits = readFixtureTensors(join(folder, "expected.safetensors"));
      const record = expected.models[name];
      const feedsOf = (ids: Tensor, mask: Tensor) => ({
        input_ids: ids,
        attention_mask: mask,
        token_type_ids: int64(new Array<number>(ids.data.length).fill(0), ids.shape),
      });
      await replayClassifier(join(folder, name), name, {
        record,
        labels: evaluation.get("labels") as Tensor,
        correctTolerance: 1,
        run: async (session, domain) => {
          const ids = evaluation.get(`input_ids.${domain}`) as Tensor;
          const outputs = await session.run(feedsOf(ids, evaluation.get(`attention_mask.${domain}`) as Tensor));
          return outputs.logits;
        },
        async checkLogits(session) {
          for (const [index, key] of (record.logits as readonly string[]).entries()) {
            const ids = expected.prompts?.[index].ids ?? [];
            const shape = [1, ids.length];
            const outputs = await session.run(
              feedsOf(
                int64(ids, shape),
                int64(
                  ids.map(() => 1),
                  shape,
                ),
              ),
            );
            const reference = logits.get(key) as Tensor;
            expect(maxDifference(outputs.logits, reference), key).toBeLessThanOrEqual(logitTolerance);
          }
        },
      });
    });
  }
});

describe.skipIf(area === "")("glyph", () => {
  const folder = join(area, "glyph");
  for (const name of fixtureCases("models", { within: "glyph", marker: "config.json" })) {
    test(`${name}: logits, loss and correct images of the exported graphs`, { timeout: 120_000 }, async () => {
      const expected = readFixtureJson<ClassifierRecord>(join(folder, "expected.json"));
      const evaluation = readFixtureTensors(join(folder, "eval.safetensors"));
      const logits = readFixtureTensors(join(folder, "expected.safetensors"));
      const record = expected.models[name];
      const pixels = (domain: string, count?: number): Tensor => {
        const { data, shape } = evaluation.get(`images.${domain}`) as Tensor;
        const rows = count ?? shape[0];
        const bytes = (data as Uint8Array).subarray(0, (rows * data.length) / shape[0]);
        return fromData(
          "float32",
          Float32Array.from(bytes, (byte) => (Math.fround(byte / 255) - 0.5) / 0.5),
          [rows, ...shape.slice(1)],
        );
      };
      await replayClassifier(join(folder, name), name, {
        record,
        labels: evaluation.get("labels") as Tensor,
        correctTolerance: 2,
        run: async (session, domain) => (await session.run({ pixel_values: pixels(domain) })).logits,
        async checkLogits(session) {
          for (const [domain, key] of Object.entries(record.logits)) {
            const outputs = await session.run({ pixel_values: pixels(domain, 3) });
            const reference = logits.get(key) as Tensor;
            expect(maxDifference(outputs.logits, reference), key).toBeLessThanOrEqual(logitTolerance);
          }
        },
      });
    });
  }
});

/** Compares fp32 with the records, and bounds and prints what q8 and q4 do to loss and correct answers. */
async function replayClassifier(
  folder: string,
  name: string,
  options: {
    readonly record: ClassifierRecord["models"][string];
    readonly labels: Tensor;
    readonly correctTolerance: number;
    readonly run: (session: Session, domain: string) => Promise<Tensor>;
    readonly checkLogits: (session: Session) => Promise<void>;
  },
): Promise<void> {
  const { record, labels, correctTolerance, run, checkLogits } = options;
  const table: Table = {};
  await withExport(folder, async (exported) => {
    for (const dtype of replayed) {
      await withSession(exported, dtype, async (session) => {
        if (dtype === "fp32") await checkLogits(session);
        for (const [domain, { correct, loss }] of Object.entries(record.domains)) {
          const row = (table[domain] ??= { recorded: loss, "recorded correct": correct });
          Object.assign(row, scores(await run(session, domain), labels, dtype));
        }
      });
    }
  });
  report(`${name}: loss in nats, correct of ${labels.shape[0]}`, table);
  for (const [domain, row] of Object.entries(table)) {
    const off = (dtype: ExportDType) => Math.abs(row[`${dtype} correct`] - row["recorded correct"]);
    expect(Math.abs(row.fp32 - row.recorded), `fp32 loss ${domain}`).toBeLessThanOrEqual(1e-4);
    expect(off("fp32"), `fp32 correct ${domain}`).toBeLessThanOrEqual(correctTolerance);
    expect(off("q8"), `q8 correct ${domain}`).toBeLessThanOrEqual(0.02 * labels.shape[0]);
    expect(off("q4"), `q4 correct ${domain}`).toBeLessThanOrEqual(0.08 * labels.shape[0]);
  }
}

function scores(logits: Tensor, labels: Tensor, dtype: ExportDType): Record<string, number> {
  const [rows, classes] = logits.shape;
  let loss = 0;
  let correct = 0;
  for (let row = 0; row < rows; row++) {
    const label = Number(labels.data[row]);
    loss += crossEntropy(logits.data as Float32Array, row * classes, classes, label);
    if (largestAt(logits.data as Float32Array, row * classes, classes) === label) correct++;
  }
  return { [dtype]: loss / rows, [`${dtype} correct`]: correct };
}

function report(title: string, table: Table): void {
  const lines = Object.entries(table).map(([domain, row]) => {
    const cells = Object.entries(row).map(([key, value]) => `${key} ${Number(value.toFixed(4))}`);
    return `  ${domain}: ${cells.join(", ")}`;
  });
  console.info([title, ...lines].join("\n"));
}
