import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as checkpointNode from "@loomweight/checkpoint/node";
import * as tensors from "@loomweight/tensor";
import { fromData, type Tensor } from "@loomweight/tensor";
import ts from "typescript";
import { afterAll, beforeAll, expect, test } from "vitest";
import * as merge from "../src/index.ts";
import * as node from "../src/node/index.ts";
import { writeSmallModels } from "./small-models.ts";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
/** The README's code, in its order. */
const blocks = [...readme.matchAll(/^```(\w*)\n([\s\S]*?)^```/gm)].map(([, language, code]) => ({ language, code }));
const folder = mkdtempSync(join(tmpdir(), "loomweight-readme-"));
const before = process.cwd();

beforeAll(async () => {
  await writeSmallModels(folder, 2, { vocabulary: 4 });
  for (const [from, to] of [
    ["tuned-1", "plays"],
    ["tuned-2", "verse"],
  ])
    cpSync(join(folder, from), join(folder, to), { recursive: true });
  for (const [name, words] of Object.entries({
    base: ["a", "b", "c", "d"],
    plays: ["a", "b", "c", "e"],
    verse: ["a", "b", " new", "<|im_start|>"],
  })) {
    const vocab = Object.fromEntries(words.map((word, id) => [word, id]));
    const file = { added_tokens: [], model: { type: "BPE", vocab, merges: [] } };
    writeFileSync(join(folder, name, "tokenizer.json"), JSON.stringify(file));
  }
  const key = "base_model.model.model.layers.1.mlp.up_proj";
  for (const name of ["verse-lora", "run/checkpoint-100", "run/checkpoint-200"]) {
    await writeTensors(name, "adapter_model.safetensors", {
      [`${key}.lora_A.weight`]: [1, 24],
      [`${key}.lora_B.weight`]: [48, 1],
    });
    const config = { peft_type: "LORA", r: 1, lora_alpha: 2, target_modules: ["up_proj"] };
    writeFileSync(join(folder, name, "adapter_config.json"), JSON.stringify(config));
    const step = Number(/\d+$/.exec(name)?.[0] ?? 0);
    const log_history = [{ step, loss: step === 100 ? 0.9 : 0.5 }];
    writeFileSync(join(folder, name, "trainer_state.json"), JSON.stringify({ global_step: step, log_history }));
  }
  for (const name of ["see-base", "see-plays", "see-verse"]) {
    await writeTensors(name, "model.safetensors", {
      "model.vision_tower.layers.0.weight": [2, 2],
      "model.vision_tower.layers.1.weight": [2, 2],
      "model.language_model.layers.0.weight": [2, 2],
    });
    const config = { vision_config: { num_hidden_layers: 2 }, text_config: { num_hidden_layers: 1 } };
    writeFileSync(join(folder, name, "config.json"), JSON.stringify(config));
  }
  process.chdir(folder);
});
afterAll(() => {
  process.chdir(before);
  rmSync(folder, { recursive: true, force: true });
});

async function writeTensors(name: string, file: string, shapes: Readonly<Record<string, readonly number[]>>) {
  mkdirSync(join(folder, name), { recursive: true });
  const made = Object.entries(shapes).map(([tensor, shape]): [string, Tensor] => {
    const size = shape.reduce((product, axis) => product * axis, 1);
    return [
      tensor,
      fromData(
        "float32",
        Float32Array.from({ length: size }, (_, i) => Math.sin(i + 1)),
        shape,
      ),
    ];
  });
  await checkpointNode.saveSafetensors(join(folder, name, file), new Map(made), { force: true });
}

/** Runs TypeScript as it is printed; gives what it logs. */
async function run(code: string): Promise<unknown[]> {
  const packages = {
    "@loomweight/merge": merge,
    "@loomweight/merge/node": node,
    "@loomweight/tensor": tensors,
    "@loomweight/checkpoint/node": checkpointNode,
  };
  const plain = ts.transpileModule(code, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const body = plain.outputText.replace(
    /import \{([^}]*)\} from "([^"]+)";/g,
    (_, names, from) => `const {${names}} = packages["${from}"];`,
  );
  expect(body).not.toMatch(/^import /m);
  const AsyncFunction = (async () => undefined).constructor as new (
    ...parts: string[]
  ) => (...values: unknown[]) => Promise<void>;
  const logged: unknown[] = [];
  await new AsyncFunction("packages", "console", body)(packages, { log: (value: unknown) => logged.push(value) });
  return logged;
}

/** What each TypeScript block logs: the comment behind its `console.log`. */
const logs: readonly (readonly unknown[])[] = [
  [Float32Array.of(-4, -3, 3, 0)],
  [],
  [],
  [Float32Array.of(2, 3)],
  [2],
  [true],
  [expect.anything()],
];

test("every block of code runs as it is printed, one after the other", async () => {
  let typescript = 0;
  let recipes = 0;
  for (const { language, code } of blocks) {
    if (language === "yaml") {
      recipes++;
      // The first is the recipe of what follows; settings for tokenizers are added to it; others stand alone.
      const text = code.includes("merge_method") ? code : `${readFileSync("recipe.yml", "utf8")}${code}`;
      writeFileSync(recipes === 1 ? "recipe.yml" : `recipe-${recipes}.yml`, text);
      const report = await node.mergeModel(recipes === 1 ? "recipe.yml" : `recipe-${recipes}.yml`, `yaml-${recipes}`);
      expect(report.tensors).toBeGreaterThan(1);
    } else if (language === "js") {
      const name = /^\/\/ (\S+\.mjs)/.exec(code)?.[1] as string;
      // Outside of a project the package has no name: it is the build beside this test.
      const built = new URL("../dist/index.js", import.meta.url).href;
      writeFileSync(name, code.replaceAll('"@loomweight/merge"', JSON.stringify(built)));
    } else if (language === "ts") {
      expect([typescript, await run(code)]).toEqual([typescript, logs[typescript]]);
      typescript++;
    } else if (language === "sh") {
      expect(code.trim()).toBe("npm i @loomweight/merge");
    } else {
      expect([language, code.startsWith("formula")]).toEqual(["", true]);
    }
  }
  expect(typescript).toBe(logs.length);
  expect(recipes).toBe(3);
  expect(readdirSync(folder)).toEqual(expect.arrayContaining(["merged", "halfway", "averaged", "yaml-1", "yaml-2"]));
}, 120_000);

test("the printed explanation is what the printed recipe gives", async () => {
  const tensor = "model.embed_tokens.weight";
  const { formula, inputs } = await node.explainMerge("recipe.yml", tensor);
  const printed = blocks.find(({ code }) => code.startsWith("formula"))?.code as string;
  expect(printed).toContain(`formula    ${formula}`);
  for (const { symbol, model } of inputs)
    expect(printed).toMatch(new RegExp(`^${symbol} +${model.replace(/[.+]/g, "\\$&")} `, "m"));
});

test("what the README links to is there", () => {
  for (const [, path] of readme.matchAll(/\]\((?!http)([^)#]+)\)/g)) {
    expect(() => readdirOrRead(fileURLToPath(new URL(`../${path}`, import.meta.url)))).not.toThrow();
  }
});

function readdirOrRead(path: string): void {
  try {
    readdirSync(path);
  } catch {
    readFileSync(path);
  }
}
