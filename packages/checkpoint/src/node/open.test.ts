import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fromData, type LoomweightError } from "@loomweight/tensor";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { writeSafetensors } from "../write-safetensors.ts";
import { fileSource } from "./file-source.ts";
import { openCheckpoint, openModel } from "./open.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "loomweight-open-"));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const weights = (...names: string[]) =>
  writeSafetensors(new Map(names.map((name, i) => [name, fromData("float32", new Float32Array([i, i + 1]), [2])])));
const put = (name: string, content: string | Uint8Array) => {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
};
const namesIn = async (path: string): Promise<string[]> => {
  const checkpoint = await openCheckpoint(path);
  await checkpoint.close();
  return [...checkpoint.tensors.keys()];
};
const refusal = async (run: Promise<unknown>): Promise<LoomweightError> => {
  const error = await run.then(
    () => undefined,
    (thrown: LoomweightError) => thrown,
  );
  expect(error).toMatchObject({ name: "LoomweightError" });
  return error as LoomweightError;
};

describe("a file on disk", () => {
  test("is read straight into WebAssembly memory", async () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const path = put("m.safetensors", weights("a", "b"));
    const checkpoint = await openCheckpoint(path);
    const into = new Uint8Array(memory.buffer, 1000, 8);
    expect(await checkpoint.readBytes("b", { into })).toBe(into);
    expect([...new Float32Array(memory.buffer, 1000, 2)]).toEqual([1, 2]);
    expect((await checkpoint.read("b", { range: { start: 1, end: 2 } })).data).toEqual(new Float32Array([2]));
    await checkpoint.close();
    await checkpoint.close();
    await expect(checkpoint.read("b")).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("that changes while it is open is noticed: shorter, longer, or rewritten", async () => {
    const edits: ((path: string) => void)[] = [
      (path) => truncateSync(path, 100),
      (path) => appendFileSync(path, "x"),
      (path) => utimesSync(path, new Date(0), new Date(0)),
    ];
    for (const [i, edit] of edits.entries()) {
      const path = put(`${i}.safetensors`, weights("a", "b"));
      const checkpoint = await openCheckpoint(path);
      await checkpoint.read("b");
      edit(path);
      const error = await refusal(checkpoint.read("b"));
      expect(error.code).toBe("FILE_CHANGED");
      expect(error.message).toContain(path);
      await checkpoint.close();
    }
  });

  test("that is a pipe, a folder, missing or no path is refused at once", async () => {
    execFileSync("mkfifo", [join(root, "pipe.safetensors")]);
    expect((await refusal(openCheckpoint(join(root, "pipe.safetensors")))).code).toBe("NOT_A_FILE");
    expect((await refusal(fileSource(root))).code).toBe("NOT_A_FILE");
    expect((await refusal(openCheckpoint(join(root, "none.safetensors")))).code).toBe("MISSING_FILE");
    expect((await refusal(openCheckpoint(join(root, "a\u0000.safetensors")))).code).toBe("INVALID_PATH");
    expect((await refusal(openCheckpoint("/dev/zero"))).code).toBe("NOT_A_FILE");
  });
});

describe("what is no safetensors file is called by its name", () => {
  const lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 4998\n";
  test.each<[string, string, string | Uint8Array, string, RegExp]>([
    ["a Git LFS pointer", "model.safetensors", lfs, "GIT_LFS_POINTER", /4998 bytes.*git lfs pull/],
    ["a web page", "model.safetensors", "<!DOCTYPE html><html>", "NOT_SAFETENSORS", /web page/],
    ["an error message", "model.safetensors", '{"error":"Access denied"}', "NOT_SAFETENSORS", /Access denied/],
    ["plain text", "model.safetensors", "Entry not found", "NOT_SAFETENSORS", /Entry not found/],
    [
      "a pickle of that name",
      "model.safetensors",
      "PK\u0003\u0004aaaaaaaaaa",
      "UNSUPPORTED_FORMAT",
      /pickle.*not supported yet/,
    ],
    [
      "GGUF of that name",
      "model.safetensors",
      "GGUF\u0003aaaaaaaaaaaaa",
      "UNSUPPORTED_FORMAT",
      /GGUF.*not supported yet/,
    ],
    ["a .bin file", "pytorch_model.bin", "x", "UNSUPPORTED_FORMAT", /pytorch_model\.bin.*not supported yet/],
    ["a .pt file", "model.pt", "x", "UNSUPPORTED_FORMAT", /not supported yet/],
    ["a .gguf file", "model.gguf", "x", "UNSUPPORTED_FORMAT", /GGUF.*not supported yet/],
    ["an index of .bin files", "pytorch_model.bin.index.json", "{}", "UNSUPPORTED_FORMAT", /not supported yet/],
    ["anything else", "model.safetensors", "no weights", "INVALID_HEADER", /model\.safetensors/],
  ])("%s", async (_, name, content, code, message) => {
    put(name, content);
    // in a folder, by its path, and as a model
    for (const error of [
      await refusal(openCheckpoint(root)),
      await refusal(openModel(root)),
      await refusal(openModel(join(root, name))),
    ]) {
      expect(error.code).toBe(code);
      expect(error.message).toMatch(message);
    }
    if (!name.endsWith("index.json")) expect((await refusal(openCheckpoint(join(root, name)))).code).toBe(code);
  });
});

describe("a folder", () => {
  test("gives its usual weights before others", async () => {
    put("other.safetensors", weights("other"));
    expect(await namesIn(root)).toEqual(["other"]);
    put("model.safetensors", weights("single"));
    expect(await namesIn(root)).toEqual(["single"]);
    put("model.safetensors.index.json", JSON.stringify({ weight_map: { other: "other.safetensors" } }));
    const checkpoint = await openCheckpoint(root);
    expect([...checkpoint.tensors.keys()]).toEqual(["other"]);
    expect(checkpoint.location).toBe(root);
    await checkpoint.close();
  });

  test("without weights, with too many, or with shards and no index says so", async () => {
    expect((await refusal(openCheckpoint(root))).message).toContain("the folder is empty");
    put("notes.txt", "x");
    expect(await refusal(openCheckpoint(root))).toMatchObject({ code: "NO_WEIGHTS", message: /notes\.txt/ });
    put("model-00001-of-00002.safetensors", weights("a"));
    put("model-00002-of-00002.safetensors", weights("b"));
    expect((await refusal(openCheckpoint(root))).code).toBe("MISSING_INDEX");
    put("extra.safetensors", weights("c"));
    expect((await refusal(openCheckpoint(root))).code).toBe("AMBIGUOUS_WEIGHTS");
  });

  test("of the Hugging Face cache is explained one level up, and its own links are followed", async () => {
    const model = join(root, "models--org--name");
    const snapshot = join(model, "snapshots", "abc123");
    put("models--org--name/blobs/1111", weights("a"));
    put("models--org--name/blobs/2222", '{"model_type":"llama"}');
    put("models--org--name/refs/main", "abc123");
    mkdirSync(snapshot, { recursive: true });
    symlinkSync("../../blobs/1111", join(snapshot, "model.safetensors"));
    symlinkSync("../../blobs/2222", join(snapshot, "config.json"));
    const folder = await openModel(snapshot);
    expect(folder.config).toEqual({ model_type: "llama" });
    expect([...folder.checkpoint.tensors.keys()]).toEqual(["a"]);
    expect(folder.checkpoint.tensors.get("a")?.file).toBe(join(snapshot, "model.safetensors"));
    await folder.close();
    expect((await refusal(openModel(model))).message).toContain(snapshot);
    // but not to a neighbour in the cache
    put("models--org--other/blobs/3333", "{}");
    symlinkSync("../../../models--org--other/blobs/3333", join(snapshot, "generation_config.json"));
    expect((await refusal(openModel(snapshot))).code).toBe("LINK_LEAVES_FOLDER");
  });

  test("does not follow links out of it, whatever leads there", async () => {
    put("outside/secret.json", "{}");
    const outside = put("outside/weights.safetensors", weights("a"));
    put("model/inside.json", '{"from":"inside"}');
    mkdirSync(join(root, "model"), { recursive: true });
    symlinkSync(outside, join(root, "model", "model.safetensors"));
    expect((await refusal(openCheckpoint(join(root, "model")))).code).toBe("LINK_LEAVES_FOLDER");
    expect((await refusal(openModel(join(root, "model")))).code).toBe("LINK_LEAVES_FOLDER");
    // the user names the link itself: that is the user's word
    expect(await namesIn(join(root, "model", "model.safetensors"))).toEqual(["a"]);
    rmSync(join(root, "model", "model.safetensors"));
    put("model/model.safetensors", weights("a"));
    symlinkSync("inside.json", join(root, "model", "config.json"));
    const folder = await openModel(join(root, "model"));
    expect(folder.config).toEqual({ from: "inside" });
    await folder.close();
    symlinkSync("../outside/secret.json", join(root, "model", "tokenizer.json"));
    expect((await refusal(openModel(join(root, "model")))).code).toBe("LINK_LEAVES_FOLDER");
    // a folder reached through a link is the user's word, too
    rmSync(join(root, "model", "tokenizer.json"));
    symlinkSync(join(root, "model"), join(root, "alias"));
    await (await openModel(join(root, "alias"))).close();
    // a link into a circle is no file
    symlinkSync("merges.txt", join(root, "model", "merges.txt"));
    expect((await refusal(openModel(join(root, "model")))).code).toBe("MISSING_FILE");
  });

  test("brings companion files along, and nothing that runs", async () => {
    put("model.safetensors", weights("a"));
    for (const name of ["config.json", "tokenizer.json"]) put(name, '{"a":[0.0, Infinity, -Infinity, NaN]}');
    for (const name of [
      "README.md",
      "LICENSE",
      "chat_template.jinja",
      "merges.txt",
      "additional_chat_templates/tool.jinja",
    ])
      put(name, "é");
    for (const name of [
      "modeling.py",
      "pytorch_model.bin",
      ".env",
      ".git/config",
      "onnx/model.onnx",
      "x.pkl",
      "run.sh",
    ])
      put(name, "x");
    const folder = await openModel(root);
    expect([...folder.files.keys()].sort()).toEqual(
      [
        "LICENSE",
        "README.md",
        "additional_chat_templates/tool.jinja",
        "chat_template.jinja",
        "config.json",
        "merges.txt",
        "tokenizer.json",
      ].sort(),
    );
    expect(folder.config).toEqual({ a: [0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN] });
    expect(await folder.readText("README.md")).toBe("é");
    expect((await refusal(folder.readText("modeling.py"))).code).toBe("MISSING_FILE");
    expect((await refusal(folder.readText("../x"))).code).toBe("MISSING_FILE");
    expect((await refusal(folder.readJson("LICENSE"))).code).toBe("INVALID_JSON");
    await folder.close();
  });

  test("with a broken config.json says where it is broken", async () => {
    put("model.safetensors", weights("a"));
    for (const [content, message] of [
      ['{"a":1,}', /config\.json.*byte 7/],
      ["[1]", /expected an object, found an array/],
      ["", /the end of the text/],
      [`{"a":${"[".repeat(100000)}`, /deeply nested/],
    ] as const) {
      put("config.json", content);
      expect(await refusal(openModel(root))).toMatchObject({ code: "INVALID_JSON", message });
    }
  });
});

test("no descriptor stays open after a refusal", async (context) => {
  if (!existsSync("/proc/self/fd")) context.skip("only Linux lists a process's open files");
  const { readdirSync } = await import("node:fs");
  put("model.safetensors", "broken");
  put("a.safetensors", weights("a"));
  put("x.safetensors.index.json", JSON.stringify({ weight_map: { a: "a.safetensors", b: "b.safetensors" } }));
  put("config.json", "{");
  const before = readdirSync("/proc/self/fd").length;
  for (let i = 0; i < 20; i++) {
    await refusal(openModel(root));
    await refusal(openModel(join(root, "a.safetensors")));
    await refusal(openCheckpoint(join(root, "x.safetensors.index.json")));
  }
  expect(readdirSync("/proc/self/fd").length).toBeLessThan(before + 5);
});
