import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "@loomweight/checkpoint";
import type { Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type FoldModelOptions, foldModel, unfoldModel } from "../src/node/index.ts";
import { weights } from "./small.ts";

const [layers, width] = [24, 256];
let folder = "";
const at = (...names: string[]) => join(folder, ...names);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-fold-resume-"));
  const [base, adapter] = [new Map<string, Tensor>(), new Map<string, Tensor>()];
  for (let layer = 0; layer < layers; layer++) {
    const path = `model.layers.${layer}.self_attn.q_proj`;
    base.set(`${path}.weight`, weights(path, [width, width]));
    base.set(`model.layers.${layer}.input_layernorm.weight`, weights(`${layer}`, [width]));
    adapter.set(`base_model.model.${path}.lora_A.weight`, weights(`${path}A`, [4, width]));
    adapter.set(`base_model.model.${path}.lora_B.weight`, weights(`${path}B`, [width, 4]));
  }
  mkdirSync(at("base"));
  writeFileSync(at("base", "model.safetensors"), writeSafetensors(base));
  writeFileSync(at("base", "config.json"), "{}");
  writeFileSync(at("base", "tokenizer.json"), "{}");
  mkdirSync(at("adapter"));
  const config = { peft_type: "LORA", r: 4, lora_alpha: 8, target_modules: ["q_proj"] };
  writeFileSync(at("adapter", "adapter_config.json"), JSON.stringify(config));
  writeFileSync(at("adapter", "adapter_model.safetensors"), writeSafetensors(adapter));
  await foldModel(at("base"), [at("adapter")], at("reference"), { maxShardBytes });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Several files, so that killed runs leave whole, half and untouched ones. */
const maxShardBytes = 1_500_000;
const digests = (name: string) =>
  readdirSync(at(name)).map((file) => [
    file,
    createHash("sha256")
      .update(readFileSync(at(name, file)))
      .digest("hex"),
  ]);
const leftovers = () => readdirSync(folder).filter((name) => /partial|resumable/.test(name));

async function interrupted(out: string, tensors: number, options: FoldModelOptions = {}): Promise<number> {
  const stop = new AbortController();
  let kept = 0;
  await expect(
    foldModel(at("base"), [at("adapter")], at(out), {
      maxShardBytes,
      ...options,
      signal: stop.signal,
      onProgress: ({ bytesDone }) => {
        if (bytesDone >= tensors * width * width * 4) stop.abort(new Error("stop"));
      },
      onSuspend: ({ tensorsDone }) => {
        kept = tensorsDone;
      },
    }),
  ).rejects.toThrow("stop");
  return kept;
}

describe("an interrupted folding", () => {
  test("is continued at the tensors that are missing, to the same bytes; without resume it is reported", async () => {
    const kept = await interrupted("out", 10);
    expect(kept).toBeGreaterThanOrEqual(8);
    expect(existsSync(at("out"))).toBe(false);
    const fold = (options: FoldModelOptions) =>
      foldModel(at("base"), [at("adapter")], at("out"), { maxShardBytes, ...options });
    await expect(fold({})).rejects.toMatchObject({ code: "OUTPUT_UNFINISHED" });
    await expect(fold({ resume: true, dtype: "bfloat16" })).rejects.toMatchObject({
      code: "RESUME_MISMATCH",
      message: expect.stringMatching(/plan, weight files differ/),
    });
    const result = await fold({ resume: true });
    expect(result.tensorsKept).toBe(kept);
    expect(digests("out")).toEqual(digests("reference"));
    expect(leftovers()).toEqual([]);
  });

  test("is not continued with an adapter that was changed since", async () => {
    await interrupted("edited", 10);
    const file = at("adapter", "adapter_config.json");
    const text = readFileSync(file, "utf8");
    writeFileSync(file, text.replace('"lora_alpha":8', '"lora_alpha":9'));
    const resume = () => foldModel(at("base"), [at("adapter")], at("edited"), { maxShardBytes, resume: true });
    await expect(resume()).rejects.toMatchObject({ code: "RESUME_MISMATCH" });
    writeFileSync(file, text);
    await expect(resume()).rejects.toMatchObject({ message: expect.stringContaining("adapter_config.json") });
    await foldModel(at("base"), [at("adapter")], at("edited"), { maxShardBytes, force: true });
    expect(digests("edited")).toEqual(digests("reference"));
  });

  test("is one thing with an interrupted unfolding: it resumes as well", async () => {
    const stop = new AbortController();
    const options = { base: at("base") };
    await expect(
      unfoldModel(at("reference"), [at("adapter")], at("unfolded"), {
        ...options,
        signal: stop.signal,
        onProgress: ({ bytesDone }) => {
          if (bytesDone > 2_000_000) stop.abort(new Error("stop"));
        },
      }),
    ).rejects.toThrow("stop");
    const result = await unfoldModel(at("reference"), [at("adapter")], at("unfolded"), { ...options, resume: true });
    expect(result.tensorsKept).toBeGreaterThan(0);
    expect(
      readFileSync(at("unfolded", "model.safetensors")).equals(readFileSync(at("base", "model.safetensors"))),
    ).toBe(true);
    const again = await unfoldModel(at("reference"), [at("adapter")], at("whole"), options);
    expect(again.tensorsKept).toBe(0);
    expect(digests("unfolded")).toEqual(digests("whole"));
  });
});

/** A run of the built package in a process of its own. Its second line comes when it begins to fold. */
function startFold(out: string, resume: boolean): ChildProcess {
  const node = new URL("../dist/node/index.js", import.meta.url).href;
  const script = `
    import { foldModel } from ${JSON.stringify(node)};
    let begun = false;
    const onProgress = () => { if (!begun) console.log("folding"); begun = true; };
    const { base, adapter, out, options } = ${JSON.stringify({
      base: at("base"),
      adapter: at("adapter"),
      out: at(out),
      options: { maxShardBytes, resume, tileBytes: 65_536 },
    })};
    await foldModel(base, [adapter], out, { ...options, onProgress });
    console.log("done");`;
  return spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
}

async function folding(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve) => {
    child.stdout?.once("data", () => resolve());
    child.once("exit", () => resolve());
  });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => child.once("exit", () => resolve()));
}

test("a folding that is killed again and again is continued to the same bytes", async () => {
  let kills = 0;
  for (let run = 0; run < 8 && !existsSync(at("killed")); run++) {
    const child = startFold("killed", true);
    await folding(child);
    await new Promise((resolve) => setTimeout(resolve, [5, 20, 40, 80][run % 4]));
    child.kill("SIGKILL");
    await ended(child);
    if (child.signalCode === "SIGKILL") kills++;
    expect(existsSync(at("killed", "model.safetensors.index.json"))).toBe(existsSync(at("killed")));
  }
  expect(kills).toBeGreaterThan(0);
  // The journal names the code of each method: only the build that was killed goes on, not its source.
  let lastMoment = false;
  if (!existsSync(at("killed"))) await ended(startFold("killed", true));
  else lastMoment = kills > 0 && leftovers().length === 1;
  expect(digests("killed")).toEqual(digests("reference"));
  // A kill between the last two renames leaves the finished output and its journal; the next run takes that away.
  if (!lastMoment) expect(leftovers()).toEqual([]);
}, 60_000);

test("of two processes at one output the second is refused, told who writes it", async () => {
  const child = startFold("contested", false);
  await folding(child);
  child.kill("SIGSTOP"); // so that it holds its output for as long as this looks at it
  try {
    if (!existsSync(at("contested"))) {
      for (const options of [{}, { resume: true }, { force: true }]) {
        await expect(
          foldModel(at("base"), [at("adapter")], at("contested"), { maxShardBytes, ...options }),
        ).rejects.toMatchObject({ code: "OUTPUT_IN_USE", message: expect.stringContaining(String(child.pid)) });
      }
    }
  } finally {
    child.kill("SIGCONT");
  }
  await ended(child);
  expect(digests("contested")).toEqual(digests("reference"));
}, 60_000);
