import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { deflateSync } from "node:zlib";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { fixtureArea, readFixtureTensors } from "@loomweight/fixtures";
import { type Tensor, toFloat64 } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { main } from "../src/main.ts";
import { interruptAt } from "./command.ts";

const area = fixtureArea("models") ?? "";
const folder = mkdtempSync(join(tmpdir(), "loomweight-cli-train-"));
const at = (...names: string[]) => join(folder, ...names);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function run(...words: string[]) {
  const text = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    write(part: string) {
      text[name] += part;
    },
  });
  const exitCode = await main(words, { stdout: stream("stdout"), stderr: stream("stderr") });
  const losses = [...text.stderr.matchAll(/training, loss (\d+\.\d+)/g)].map(([, loss]) => Number(loss));
  return { exitCode, ...text, losses };
}

/** JSON is YAML. */
function configure(name: string, config: Readonly<Record<string, unknown>>): string {
  writeFileSync(at(`${name}.yml`), JSON.stringify({ out: name, ...config }));
  return at(`${name}.yml`);
}

const lines = (rows: readonly unknown[]) => `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`;
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const adapter = { method: "lora", rank: 4, alpha: 8, targets: ["q_proj", "v_proj"] };

describe.skipIf(area === "")("loomweight train", { timeout: 120_000 }, () => {
  beforeAll(() => {
    for (const name of ["scribe/scribe-base", "sorter/sorter-base", "glyph/glyph-base"]) {
      cpSync(join(area, name), at(name.split("/")[1]), { recursive: true });
    }
    writeFileSync(
      at("scribe-base", "chat_template.jinja"),
      "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
    );
    writeFileSync(
      at("talk.jsonl"),
      lines([
        { prompt: "First Citizen:\n", completion: "We are accounted poor citizens." },
        { text: "All: Speak, speak." },
        {
          messages: [
            { role: "user", content: "What say you?" },
            { role: "assistant", content: "Resolved, resolved." },
          ],
        },
        { prompt: "MENENIUS:\n", completion: "What work's, my countrymen, in hand?" },
      ]),
    );
    writeFileSync(
      at("sorts.jsonl"),
      lines([
        { text: "mary", label: "name" },
        { text: "menenius", label: "heading" },
        { text: "first citizen", label: 2 },
        { text: "we are accounted poor citizens", label: "line" },
      ]),
    );
  });

  test("conversations, completions and texts in packed rows: the loss falls, PEFT's files are there", async () => {
    const packed = configure("talk", {
      model: "scribe-base",
      adapter: { ...adapter, dropout: 0.1 },
      data: { train: "talk.jsonl", length: 64, packing: true },
      training: { steps: 8, batchSize: 1, learningRate: 1e-2, schedule: "constant", gradientCheckpointing: true },
    });
    const { exitCode, stderr, losses } = await run("train", packed);
    expect(exitCode, stderr).toBe(0);
    expect(stderr).toMatch(/8 modules, 7,?168 values trained in 8 steps/);
    expect(losses).toHaveLength(8);
    expect(mean(losses.slice(6))).toBeLessThan(mean(losses.slice(0, 2)) - 0.1);
    const made = await openAdapterFolder(at("talk"));
    expect(made.config.values).toMatchObject({ peft_type: "LORA", task_type: "CAUSAL_LM", r: 4, lora_alpha: 8 });
    expect([...made.modules.keys()]).toHaveLength(8);
    await made.checkpoint.close();
    expect(await run("train", packed)).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/--resume/) });
  });

  test("killed or interrupted and resumed it writes the bytes of an undisturbed run", async () => {
    const config = (name: string) =>
      configure(name, {
        model: "scribe-base",
        adapter: { ...adapter, dropout: 0.2 },
        data: { train: "talk.jsonl", length: 32 },
        training: { steps: 20, batchSize: 2, accumulate: 2, learningRate: 5e-3, saveEvery: 1 },
      });
    const files = (name: string) =>
      ["adapter_model.safetensors", "training.safetensors"].map((file) => readFileSync(at(name, file)));
    expect(await run("train", config("whole"))).toMatchObject({ exitCode: 0 });
    await killedAt(3, config("killed"));
    expect(await run("train", config("killed"), "--resume", "--json")).toMatchObject({ exitCode: 0 });
    const stopped = await interruptAt("training, loss", folder, "train", config("stopped"));
    expect(stopped.exitCode, stopped.stderr).toBe(130);
    expect(await run("train", config("stopped"), "--resume")).toMatchObject({ exitCode: 0 });
    for (const name of ["killed", "stopped"]) {
      files(name).forEach((bytes, i) => {
        expect(bytes.equals(files("whole")[i]), name).toBe(true);
      });
    }
  });

  test("text classification, from a folder and from an .onnx file alike", async () => {
    const shared = {
      adapter: { method: "lora", rank: 4, alpha: 8, targets: ["dense"] }, // exports join q, k and v
      data: { train: "sorts.jsonl", evaluation: "sorts.jsonl", length: 24 },
      training: { steps: 10, batchSize: 4, learningRate: 1e-2, evaluateEvery: 5 },
    };
    const fromFolder = await run("train", configure("sorter", { model: "sorter-base", ...shared }));
    expect(fromFolder.exitCode, fromFolder.stderr).toBe(0);
    expect(fromFolder.losses.at(-1)).toBeLessThan(0.5 * fromFolder.losses[0]);
    expect(fromFolder.stderr).toMatch(/7 modules, .* trained in 10 steps.*evaluation loss .*, accuracy 1\.0000/);
    expect(await run("export", at("sorter-base"), at("web"))).toMatchObject({ exitCode: 0 });
    const fromFile = await run("train", configure("file", { model: "web/onnx/model.onnx", ...shared }));
    expect(fromFile.exitCode, fromFile.stderr).toBe(0);
    fromFile.losses.slice(0, 4).forEach((loss, i) => {
      expect(Math.abs(loss - fromFolder.losses[i])).toBeLessThan(2e-3);
    });
    const { config, modules: adapted, checkpoint } = await openAdapterFolder(at("sorter"));
    expect(config.values.task_type).toBe("SEQ_CLS");
    expect(adapted.size).toBe(7);
    expect([...checkpoint.tensors.keys()].filter((name) => name.includes("classifier"))).toHaveLength(2);
    await checkpoint.close();
  });

  test("a text generator from an .onnx file learns as the folder does, packed too", async () => {
    expect(await run("export", at("scribe-base"), at("web-scribe"))).toMatchObject({ exitCode: 0 });
    const losses = async (model: string, name: string) => {
      const config = configure(name, {
        model,
        tokenizer: "scribe-base",
        adapter: { ...adapter, targets: ["o_proj", "down_proj"] }, // exports join q, k and v
        data: { train: "talk.jsonl", length: 64, packing: true },
        training: { steps: 3, batchSize: 1, learningRate: 1e-2 },
      });
      const { exitCode, stderr, losses: seen } = await run("train", config);
      expect(exitCode, stderr).toBe(0);
      return seen;
    };
    const [ours, theirs] = [await losses("scribe-base", "a"), await losses("web-scribe/onnx/model.onnx", "b")];
    expect(theirs).toHaveLength(3);
    theirs.forEach((loss, i) => {
      expect(Math.abs(loss - ours[i])).toBeLessThan(2e-3);
    });
  });

  test("images in folders by class", async () => {
    const tensors = readFixtureTensors(join(area, "glyph", "eval.safetensors"));
    const labels = toFloat64(tensors.get("labels") as Tensor);
    const pixels = (tensors.get("images.rotated") as Tensor).data as Uint8Array;
    for (let i = 0; i < 40; i++) {
      mkdirSync(at("digits", `${labels[i]}`), { recursive: true });
      writeFileSync(at("digits", `${labels[i]}`, `${i}.png`), greyPng(pixels.slice(i * 784, (i + 1) * 784), 28));
    }
    const config = configure("glyph", {
      model: "glyph-base",
      adapter: { method: "dora", rank: 4, alpha: 8, targets: ["query", "value"] },
      data: { train: "digits", evaluation: "digits" },
      training: { epochs: 6, batchSize: 20, learningRate: 1e-2 },
    });
    const { exitCode, stderr, losses } = await run("train", config);
    expect(exitCode, stderr).toBe(0);
    expect(losses).toHaveLength(12);
    expect(Number(/evaluation loss (\d+\.\d+)/.exec(stderr)?.[1])).toBeLessThan(losses[0] - 0.5);
  });

  test("wrong configurations and data are named and end in exit code 1", async () => {
    writeFileSync(at("column.jsonl"), lines([{ text: "a" }, { question: "b", answer: "c" }]));
    writeFileSync(at("label.jsonl"), lines([{ text: "a", label: 7 }]));
    writeFileSync(at("word.jsonl"), lines([{ text: "a", label: "nmae" }]));
    writeFileSync(at("broken.jsonl"), '{"text": "a"\n');
    writeFileSync(at("empty.jsonl"), "");
    mkdirSync(at("animals", "cat"), { recursive: true });
    writeFileSync(at("animals", "cat", "1.png"), greyPng(new Uint8Array(4), 2));
    const scribe = { model: "scribe-base", adapter };
    const sorter = { model: "sorter-base" };
    const glyph = { model: "glyph-base" };
    const data = { train: "talk.jsonl" };
    const cases: readonly [Readonly<Record<string, unknown>>, RegExp][] = [
      [{ ...scribe, daat: data }, /unknown key "daat".*"data"/],
      [{ ...scribe, data: { trian: "talk.jsonl" } }, /"trian".*"train"/],
      [{ ...scribe, data, training: { learnRate: 1 } }, /"learnRate".*"learningRate"/],
      [{ ...scribe, data, training: { batchSize: 0 } }, /batchSize/],
      [{ ...scribe }, /data\.train/],
      [{ ...scribe, data: { train: "nowhere.jsonl" } }, /nowhere\.jsonl, option data\.train: there is no such data/],
      [{ ...scribe, data: { train: "digits" } }, /a \.jsonl or \.txt file, found a folder|no such data/],
      [{ ...scribe, data: { train: "column.jsonl" } }, /line 2 .*"prompt", "completion"/],
      [{ ...scribe, data: { train: "broken.jsonl" } }, /line 1 .*one JSON object a line/],
      [{ ...scribe, data: { train: "empty.jsonl" } }, /empty file/],
      [{ ...scribe, data, adapter: { ...adapter, targets: ["q_prj"] } }, /match no layer.*"q_proj"/],
      [{ ...scribe, data, adapter: { ...adapter, rank: 0 } }, /lora\.rank/],
      [{ ...scribe, data, adapter: { method: "lorra" } }, /"lorra".*"lora"/],
      [{ ...scribe, data, task: "fill-mask" }, /task.*fill-mask.*text-generation/],
      [{ ...scribe, data, model: "nowhere" }, /nowhere.*no such/],
      [{ ...scribe, data, model: "nowhere.onnx" }, /nowhere\.onnx.*no such/],
      [{ ...sorter, data: { train: "label.jsonl" } }, /line 1 .*name, line, heading, found 7/],
      [{ ...sorter, data: { train: "word.jsonl" } }, /line 1 .*name, line, heading, found "nmae"/],
      [{ ...sorter, data }, /line 1 .*\{"text", "label"\}/],
      [{ ...glyph, data: { train: "animals" } }, /"cat" is no class of the model.*0, 1, 2/],
      [{ ...glyph, data }, /talk\.jsonl.*a folder/],
    ];
    for (const [index, [config, message]] of cases.entries()) {
      const { exitCode, stderr } = await run("train", configure(`bad-${index}`, config));
      expect(stderr).toMatch(message);
      expect(stderr).not.toMatch(/TypeError|at .*\.ts:/);
      expect(exitCode, stderr).toBe(1);
    }
    expect(await run("train", at("nowhere.yml"))).toMatchObject({ exitCode: 1 });
  });
});

/** Ends the built command without warning once it has shown so many steps. */
function killedAt(steps: number, config: string): Promise<void> {
  const entry = fileURLToPath(new URL("../bin/loomweight.js", import.meta.url));
  const child = spawn(process.execPath, [entry, "train", config], { cwd: folder });
  let seen = "";
  child.stderr.on("data", (part) => {
    seen += part;
    if (seen.split("training, loss").length > steps) child.kill("SIGKILL");
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (_, signal) => (signal === "SIGKILL" ? resolve() : reject(new Error(`it ended: ${seen}`))));
  });
}

/** A grey PNG of side × side pixels. */
function greyPng(pixels: Uint8Array, side: number): Uint8Array {
  const chunk = (type: string, data: Uint8Array) => {
    const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
    length.writeUInt32BE(data.length);
    check.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, check]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header[8] = 8; // bits; colour type 0: grey
  const rows = Array.from({ length: side }, (_, y) =>
    Buffer.concat([Buffer.of(0), pixels.subarray(y * side, (y + 1) * side)]),
  );
  return Buffer.concat([
    Buffer.from("89504e470d0a1a0a", "hex"),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(Buffer.concat(rows))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** Node 20's zlib does not export it. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
