import { spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixturesRoot } from "@loomweight/fixtures";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { interruptAt, loomweight, type Outcome, snapshot, writeSafetensors, writeSparseModel } from "./command.ts";

let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-bad-input-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const at = (...parts: string[]) => join(folder, ...parts);

/** Copies a recorded folder into the test's own and returns its name there. */
function given(path: string, name: string): string {
  cpSync(join(fixturesRoot(), path), at(name), { recursive: true });
  spawnSync("chmod", ["-R", "u+w", at(name)]);
  return name;
}

function recipe(text: string): string {
  writeFileSync(at("recipe.yml"), text);
  return "recipe.yml";
}

function editJson(path: string, change: (json: Record<string, unknown>) => void): void {
  const json = JSON.parse(readFileSync(at(path), "utf8")) as Record<string, unknown>;
  change(json);
  writeFileSync(at(path), JSON.stringify(json));
}

/** Runs a command that must fail for the user's fault: code 1, the message on stderr without a stack, nothing changed. */
function refused(...words: string[]): Outcome {
  const before = snapshot(folder);
  const outcome = loomweight(folder, ...words);
  expect(outcome).toMatchObject({ exitCode: 1, stdout: "" });
  expect(outcome.stderr).not.toMatch(/\n\s+at |fault of loomweight|TypeError|of undefined|"undefined"/);
  expect(outcome.stderr).toMatch(/^error: /m);
  expect(snapshot(folder)).toBe(before);
  return outcome;
}

function givenTwoModels(): void {
  given("mergekit/models/llama-base", "base");
  given("mergekit/models/llama-a", "a");
  given("mergekit/models/llama-b", "b");
}

const linear = (first: string, second = "0.5") =>
  `merge_method: linear\nmodels:\n  - model: ./a\n    parameters: { weight: ${first} }\n  - model: ./b\n    parameters: { weight: ${second} }\n`;

describe("weights that are not what they say", () => {
  const commands: [string, (model: string) => string[]][] = [
    ["inspect", (model) => ["inspect", model]],
    ["merge", () => ["merge", recipe(linear("0.5")), "out"]],
    ["fold", (model) => ["fold", model, "adapter", "--out", "out"]],
    ["export", (model) => ["export", model, "out"]],
  ];

  test.each(commands)("%s: a truncated file is named with the bytes it lacks", (_, words) => {
    givenTwoModels();
    given("peft/cases/lora_rslora", "adapter");
    truncateSync(at("a/model.safetensors"), 2000);
    expect(refused(...words("a")).stderr).toMatch(/a\/model\.safetensors/);
  });

  test.each(commands)("%s: a header that claims more than the file holds is refused", (_, words) => {
    givenTwoModels();
    given("peft/cases/lora_rslora", "adapter");
    writeSafetensors(
      at("a/model.safetensors"),
      { x: { dtype: "F32", shape: [1000000, 1000000], data_offsets: [0, 4e12] } },
      new Uint8Array(16),
    );
    expect(refused(...words("a")).stderr).toMatch(/tensor "x"/);
  });

  test.each(commands)("%s: a missing shard is named", (_, words) => {
    givenTwoModels();
    given("peft/cases/lora_rslora", "adapter");
    unlinkSync(at("a/model.safetensors"));
    const index = { metadata: {}, weight_map: { "model.norm.weight": "model-00001-of-00002.safetensors" } };
    writeFileSync(at("a/model.safetensors.index.json"), JSON.stringify(index));
    expect(refused(...words("a")).stderr).toMatch(/model-00001-of-00002\.safetensors/);
  });

  test.each(commands)("%s: a Git LFS pointer is recognised", (_, words) => {
    givenTwoModels();
    given("peft/cases/lora_rslora", "adapter");
    writeFileSync(at("a/model.safetensors"), "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1234\n");
    expect(refused(...words("a")).stderr).toMatch(/Git LFS pointer/);
  });
});

describe("merge", () => {
  test.each([
    ["a key that is mistyped", linear("0.5").replace("merge_method", "merge_metod"), /recipe\.yml:1:1.*merge_method/s],
    ["a method that is mistyped", linear("0.5").replace("linear", "liner"), /recipe\.yml:1:15.*"linear"/s],
    ["a method that is not built", linear("0.5").replace("linear", "no_such_method"), /recipe\.yml:1:15/],
    ["a weight that is no number", linear(".nan"), /recipe\.yml:4:\d+.*weight/s],
    ["weights that sum to 0 under normalisation", linear("0.5", "-0.5"), /sum to 0|zero/],
    [
      "a density of 1.7",
      "merge_method: ties\nbase_model: ./base\nmodels:\n  - model: ./a\n    parameters: { weight: 1, density: 1.7 }\n",
      /recipe\.yml:5:\d+.*density.*1\.7/s,
    ],
    [
      "layers out of range",
      "merge_method: passthrough\nslices:\n  - sources:\n      - model: ./a\n        layer_range: [0, 99]\n",
      /recipe\.yml:5:\d+.*(99|layer)/s,
    ],
    ["a model that is not there", linear("0.5").replace("./b", "./nowhere"), /nowhere/],
    ["YAML that cannot be read", "merge_method: [linear\nmodels", /recipe\.yml:\d+:\d+/],
  ])("%s is refused with its place", (_, text, message) => {
    givenTwoModels();
    expect(refused("merge", recipe(text), "out").stderr).toMatch(message);
  });

  test("a weight that is not finite stops the merge, naming the tensor", () => {
    givenTwoModels();
    const file = readFileSync(at("a/model.safetensors"));
    file.writeFloatLE(Number.NaN, file.length - 4);
    writeFileSync(at("a/model.safetensors"), file);
    expect(refused("merge", recipe(linear("0.5")), "out").stderr).toMatch(/tensor ".+"/);
    expect(loomweight(folder, "merge", "recipe.yml", "out", "--allow-non-finite")).toMatchObject({ exitCode: 0 });
  });

  test("a recipe that is not there", () => {
    expect(refused("merge", "recipe.yml", "out").stderr).toMatch(/recipe\.yml/);
  });
});

describe("fold", () => {
  test("an adapter for other layers is refused by name", () => {
    given("peft/base/llama", "base");
    given("peft/cases/lora_rslora", "adapter");
    editJson("adapter/adapter_config.json", (config) => {
      config.target_modules = ["no_proj"];
    });
    expect(refused("fold", "base", "adapter", "--out", "out").stderr).toMatch(/no_proj|target_modules/);
  });

  test("an adapter whose shapes do not fit is refused, naming tensor and shapes", () => {
    given("models/scribe/scribe-base", "base");
    given("peft/cases/lora_rslora", "adapter");
    expect(refused("fold", "base", "adapter", "--out", "out").stderr).toMatch(/tensor ".+lora_[AB]/);
  });

  test("an adapter type that is not built is refused by name", () => {
    given("peft/base/llama", "base");
    given("peft/cases/lora_rslora", "adapter");
    editJson("adapter/adapter_config.json", (config) => {
      config.peft_type = "VERA";
    });
    expect(refused("fold", "base", "adapter", "--out", "out").stderr).toMatch(/VERA/i);
  });

  test("another base's name alone is a warning", () => {
    given("peft/base/llama", "base");
    given("peft/cases/lora_rslora", "adapter");
    editJson("adapter/adapter_config.json", (config) => {
      config.base_model_name_or_path = "somebody/else";
    });
    const outcome = loomweight(folder, "fold", "base", "adapter", "--out", "out");
    expect(outcome.exitCode).toBe(0);
    expect(outcome.stderr).toMatch(/warning: .*somebody\/else/);
  });
});

describe("export", () => {
  test("an unknown model_type is refused by name", () => {
    given("architectures/llama", "model");
    editJson("model/config.json", (config) => {
      config.model_type = "llamma";
      config.architectures = ["LlammaForCausalLM"];
    });
    expect(refused("export", "model", "out").stderr).toMatch(/llamma/);
  });

  test("an unknown dtype and an unknown task are refused with the closest", () => {
    given("architectures/llama", "model");
    expect(refused("export", "model", "out", "--dtype", "fp23").stderr).toMatch(/fp32/);
    expect(refused("export", "model", "out", "--task", "text-generatoin").stderr).toMatch(/"text-generation"/);
  });

  test("a layer that the weights lack is named", () => {
    given("architectures/llama", "model");
    editJson("model/config.json", (config) => {
      config.num_hidden_layers = 7;
    });
    expect(refused("export", "model", "out").stderr).toMatch(/layers\.\d|num_hidden_layers/);
  });
});

describe("inspect", () => {
  test("an ONNX file that is none is refused", () => {
    writeFileSync(at("model.onnx"), "this is no protobuf");
    expect(refused("inspect", "model.onnx").stderr).toMatch(/model\.onnx/);
  });

  test("pickles and empty folders are refused with what to do", () => {
    writeFileSync(at("pytorch_model.bin"), "x");
    expect(refused("inspect", "pytorch_model.bin").stderr).toMatch(/safetensors/);
    mkdirSync(at("empty"));
    expect(refused("inspect", "empty").stderr).toMatch(/empty/);
  });
});

describe("outputs", () => {
  const commands: [string, string[]][] = [
    ["merge", ["merge", "recipe.yml", "out"]],
    ["fold", ["fold", "llama", "adapter", "--out", "out"]],
    ["export", ["export", "llama", "out", "--no-verify"]],
  ];

  test.each(commands)("%s: an existing output is refused and kept; --force replaces it", (_, words) => {
    givenTwoModels();
    given("peft/base/llama", "llama");
    given("peft/cases/lora_rslora", "adapter");
    recipe(linear("0.5"));
    mkdirSync(at("out"));
    writeFileSync(at("out/precious.txt"), "mine");
    expect(refused(...words).stderr).toMatch(/out.*exists/);
    expect(loomweight(folder, ...words, "--force")).toMatchObject({ exitCode: 0 });
    expect(snapshot(at("out"))).not.toContain("precious");
  });

  test("a full disk is said, and nothing is left on it", (context) => {
    mkdirSync(at("disk"));
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", at("disk")]);
    if (mounted.status !== 0) return context.skip("mounting a small file system needs root");
    try {
      givenTwoModels();
      given("peft/base/llama", "llama");
      given("peft/cases/lora_rslora", "adapter");
      writeSparseModel(at("a/model.safetensors"), ["x"], [100_000]);
      writeSparseModel(at("b/model.safetensors"), ["x"], [100_000]);
      recipe(linear("0.5"));
      for (const words of [
        ["merge", "recipe.yml", "disk/out"],
        ["fold", "llama", "adapter", "--out", "disk/out"],
        ["export", "llama", "disk/out"],
      ]) {
        expect(refused(...words).stderr).toMatch(/disk is full|space/);
      }
    } finally {
      spawnSync("umount", [at("disk")]);
    }
  });

  test("an interrupted merge keeps what was there, even with --force, and --resume completes it to the same bytes", async () => {
    const names = Array.from({ length: 40 }, (_, i) => `model.layers.${i}.weight`);
    for (const name of ["a", "b"]) {
      mkdirSync(at(name));
      writeSparseModel(at(name, "model.safetensors"), names, [1024, 1024]);
    }
    recipe(linear("0.5"));
    mkdirSync(at("out"));
    writeFileSync(at("out/precious.txt"), "mine");
    const words = ["merge", "recipe.yml", "out", "--workers", "1"];
    const outcome = await interruptAt("merging", folder, ...words, "--force");
    expect(outcome).toMatchObject({ exitCode: 130, stdout: "" });
    expect(outcome.stderr).toMatch(/interrupted; the output was not written/);
    expect(readFileSync(at("out/precious.txt"), "utf8")).toBe("mine");
    const again = await interruptAt('"progress"', folder, ...words, "--resume", "--force", "--json");
    if (again.exitCode !== 0) {
      const events = again.stderr
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(again.exitCode).toBe(130);
      expect(events.at(-1)).toEqual({
        error: { code: "INTERRUPTED", message: expect.stringContaining("not written") },
      });
      expect(readFileSync(at("out/precious.txt"), "utf8")).toBe("mine");
    }
    rmSync(at("out"), { recursive: true });
    expect(loomweight(folder, ...words, "--resume")).toMatchObject({ exitCode: 0 });
    // Nothing but the inputs and the output is left.
    expect(readdirSync(folder).sort()).toEqual(["a", "b", "out", "recipe.yml"]);
    expect(loomweight(folder, "merge", "recipe.yml", "whole")).toMatchObject({ exitCode: 0 });
    expect(snapshot(at("out"))).toBe(snapshot(at("whole")));
  }, 120_000);

  test("an interrupted fold is continued to the same bytes, and leaves nothing else behind", async () => {
    given("peft/base/llama", "base");
    given("peft/cases/lora_rslora", "adapter");
    const names = Array.from({ length: 40 }, (_, i) => `extra.${i}.weight`);
    writeSparseModel(at("base/extra.safetensors"), names, [1024, 1024]);
    const index = Object.fromEntries(names.map((name) => [name, "extra.safetensors"]));
    const listed = JSON.parse(loomweight(folder, "inspect", "base/model.safetensors", "--json").stdout);
    for (const { name } of listed.tensors as { name: string }[]) index[name] = "model.safetensors";
    writeFileSync(at("base/model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: index }));
    const outcome = await interruptAt("folding", folder, "fold", "base", "adapter", "--out", "out");
    expect(outcome).toMatchObject({ exitCode: 130, stdout: "" });
    expect(readdirSync(folder)).not.toContain("out");
    expect(loomweight(folder, "fold", "base", "adapter", "--out", "out", "--resume")).toMatchObject({ exitCode: 0 });
    expect(readdirSync(folder).sort()).toEqual(["adapter", "base", "out"]);
    expect(loomweight(folder, "fold", "base", "adapter", "--out", "whole")).toMatchObject({ exitCode: 0 });
    expect(snapshot(at("out"))).toBe(snapshot(at("whole")));
  }, 120_000);
});
