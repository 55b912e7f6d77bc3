import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bytesSource, openSafetensors, writeSafetensors } from "@loomweight/checkpoint";
import { fixturesRoot } from "@loomweight/fixtures";
import { openSession } from "@loomweight/graph/node";
import type { Tensor } from "@loomweight/tensor";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { run } from "./in-process.ts";

let folder = "";
const at = (...names: string[]) => join(folder, ...names);
const base = join(fixturesRoot(), "peft/base/llama");
const lora = join(fixturesRoot(), "peft/cases/lora_rslora");
const present = existsSync(base) && existsSync(lora);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-cli-fold-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const data = (text: string) => JSON.parse(text) as Record<string, unknown>;
const weights = (name: string) => readFileSync(at(name, "model.safetensors"));

describe.skipIf(!present)("fold and unfold", () => {
  test("unfold gives the base's bytes where it is given or was kept, else says that it computed them", async () => {
    expect(await run("fold", base, lora, "--out", at("folded"), "--keep-base")).toMatchObject({ exitCode: 0 });
    const kept = await run("unfold", at("folded"), lora, "--out", at("kept"), "--json");
    expect(data(kept.stdout)).toMatchObject({ from: "kept" });
    const given = await run("unfold", at("folded"), lora, "--out", at("given"), "--base", base);
    expect(given.stderr).toMatch(/unfolded \(the base's own bytes\)/);
    expect(weights("given").equals(readFileSync(join(base, "model.safetensors")))).toBe(true);
    expect(weights("kept").equals(weights("given"))).toBe(true);
    rmSync(at("folded", "base-weights.safetensors"));
    const computed = await run("unfold", at("folded"), lora, "--out", at("computed"));
    expect(computed.stderr).toMatch(/by arithmetic, not to the base's exact bytes.*float32: 2\^-24/);
    expect(weights("computed").equals(weights("given"))).toBe(false);
    const wrong = await run("unfold", at("folded"), lora, "--out", at("wrong"), "--base", at("folded"));
    expect(wrong).toMatchObject({ exitCode: 1 });
    expect(wrong.stderr).toMatch(/is not this base with these adapters folded in/);
    expect(existsSync(at("wrong"))).toBe(false);
  });

  test("--resume with nothing to continue begins anew; options of ONNX files are refused beside a folder", async () => {
    expect(await run("fold", base, lora, "--out", at("out"), "--resume")).toMatchObject({ exitCode: 0 });
    const usage = await run("fold", base, lora, "--out", at("other"), "--allow-loss");
    expect(usage).toMatchObject({ exitCode: 2 });
    expect(usage.stderr).toMatch(/--allow-loss is for an \.onnx file/);
  });

  test("convert writes kohya's and diffusers' files, which fold as the PEFT folder does", async () => {
    expect(await run("fold", base, lora, "--out", at("folded"))).toMatchObject({ exitCode: 0 });
    for (const layout of ["kohya", "diffusers"]) {
      expect(await run("convert", lora, at(layout), "--to", layout)).toMatchObject({ exitCode: 0 });
      expect(readdirSync(at(layout))).toEqual(["pytorch_lora_weights.safetensors"]);
      const file = at(layout, "pytorch_lora_weights.safetensors");
      expect(await run("fold", base, file, "--out", at(`${layout}-folded`))).toMatchObject({ exitCode: 0 });
      const [ours, theirs] = await Promise.all([`${layout}-folded`, "folded"].map((name) => tensorsOf(weights(name))));
      let changed = 0;
      for (const [name, tensor] of theirs) {
        const other = ours.get(name) as Tensor;
        const [a, b] = [other.data as Float32Array, tensor.data as Float32Array];
        if (name.includes("q_proj")) changed++;
        a.forEach((value, i) => {
          expect(Math.abs(value - b[i]), name).toBeLessThan(1e-6);
        });
      }
      expect(changed).toBeGreaterThan(0);
    }
    const blind = await run("convert", at("kohya"), at("peft"));
    expect(blind).toMatchObject({ exitCode: 1 });
    expect(blind.stderr).toMatch(/do not tell "\." from "_"/);
    expect(await run("convert", at("kohya"), at("peft"), "--base", base)).toMatchObject({ exitCode: 0 });
    expect(await run("fold", base, at("peft"), "--out", at("again"))).toMatchObject({ exitCode: 0 });
    expect(weights("again").equals(weights("kohya-folded"))).toBe(true);
  });

  test("an ONNX file of 4 bits takes an adapter: what is kept is said, and losing it is refused", async () => {
    const exported = await run("export", base, at("web"), "--dtype", "q4", "--no-verify");
    expect(exported, exported.stderr).toMatchObject({ exitCode: 0 });
    const model = at("web", "onnx", "model_q4.onnx");
    const folded = await run("fold", model, lora, "--out", at("folded.onnx"), "--json");
    expect(folded, folded.stderr).toMatchObject({ exitCode: 0 });
    const report = data(folded.stdout) as { total: { kept: number }; weights: { form: string }[] };
    expect(report.total.kept).toBeGreaterThan(0.8);
    expect(report.weights.length).toBeGreaterThan(0);
    const session = await openSession(at("folded.onnx"), { threads: 1 });
    await session.close();
    cpSync(lora, at("weak"), { recursive: true });
    const path = at("weak", "adapter_model.safetensors");
    const tensors = await tensorsOf(readFileSync(path));
    for (const tensor of tensors.values()) {
      const values = tensor.data as Float32Array;
      for (let i = 0; i < values.length; i++) values[i] /= 32;
    }
    rmSync(path);
    writeFileSync(path, writeSafetensors(tensors));
    const lost = await run("fold", model, at("weak"), "--out", at("lost.onnx"));
    expect(lost).toMatchObject({ exitCode: 1 });
    expect(lost.stderr).toMatch(/would keep .* % of the adapter's change/);
    expect(existsSync(at("lost.onnx"))).toBe(false);
    const allowed = await run("fold", model, at("weak"), "--out", at("lost.onnx"), "--allow-loss");
    expect(allowed).toMatchObject({ exitCode: 0 });
    expect(allowed.stderr).toMatch(/of the change kept, rounding/);
  }, 60_000);
});

/** Tensors of a file, in memory that may be written. */
async function tensorsOf(bytes: Uint8Array): Promise<Map<string, Tensor>> {
  const checkpoint = await openSafetensors(bytesSource(bytes, "weights.safetensors"));
  const tensors = new Map<string, Tensor>();
  for (const name of checkpoint.tensors.keys()) tensors.set(name, await checkpoint.read(name));
  return tensors;
}
