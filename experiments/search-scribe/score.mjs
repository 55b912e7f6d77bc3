// The score of a candidate: mean loss in nats per token over three domains, of the exported graph run by onnxruntime.
// Every second window is scored; the others are kept to see whether what was found holds on text it was not chosen by.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openCheckpoint } from "@loomweight/checkpoint/node";
import { openSession } from "@loomweight/graph/node";
import { exportFolder } from "@loomweight/onnx-export/node";
import { fromData, zeros } from "@loomweight/tensor";

const evaluationSet = fileURLToPath(new URL("../../fixtures/models/scribe/eval.safetensors", import.meta.url));

/** What `loomweight search --score` calls: lower is better. */
export async function score(candidate) {
  const losses = Object.values(await lossesByDomain(await candidate.folder(), "chosen by"));
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

/** Loss of a model folder by domain, on the windows it is "chosen by" or on those "held out". */
export async function lossesByDomain(folder, part) {
  const temporary = await mkdtemp(join(tmpdir(), "search-scribe-"));
  const windows = await openCheckpoint(evaluationSet);
  try {
    const out = join(temporary, "export");
    await exportFolder(folder, out, { dtypes: ["fp32"], verify: false });
    const session = await openSession(join(out, "onnx", "model.onnx"));
    const losses = {};
    for (const domain of windows.tensors.keys()) {
      losses[domain] = await windowsLoss(session, await windows.read(domain), part === "held out" ? 1 : 0);
    }
    await session.close();
    return losses;
  } finally {
    await windows.close();
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Every token but the first of a window is predicted from those before it; rows first, first + 2, … are used. */
async function windowsLoss(session, { data, shape: [rows, length] }, first) {
  const chosen = Array.from({ length: rows }, (_, row) => row).filter((row) => row % 2 === first);
  const ids = chosen.flatMap((row) => [...data.subarray(row * length, (row + 1) * length)]);
  const shape = [chosen.length, length];
  const integers = (value) =>
    fromData(
      "int64",
      BigInt64Array.from(ids, (id, at) => BigInt(value(id, at))),
      shape,
    );
  const caches = session.inputs
    .filter(({ name }) => name.startsWith("past_key_values."))
    .map((input) => [
      input.name,
      zeros([chosen.length, Number(input.shape[1]), 0, Number(input.shape[3])], input.dtype),
    ]);
  const { logits } = await session.run(
    {
      input_ids: integers((id) => id),
      attention_mask: integers(() => 1),
      position_ids: integers((_, at) => at % length),
      ...Object.fromEntries(caches),
    },
    { outputs: ["logits"] },
  );
  const vocabulary = logits.shape[2];
  let total = 0;
  for (let at = 0; at < ids.length; at++) {
    if (at % length === length - 1) continue;
    const row = logits.data.subarray(at * vocabulary, (at + 1) * vocabulary);
    const highest = row.reduce((a, b) => Math.max(a, b));
    total += highest + Math.log(row.reduce((sum, value) => sum + Math.exp(value - highest), 0)) - row[ids[at + 1]];
  }
  return total / (chosen.length * (length - 1));
}
