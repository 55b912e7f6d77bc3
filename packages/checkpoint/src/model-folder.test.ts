import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { isCompanionFile } from "./companions.ts";
import { openCheckpointFromFiles, openModelFromFiles } from "./model-folder.ts";
import { writeSafetensors } from "./write-safetensors.ts";

const weights = (name: string) =>
  writeSafetensors(new Map([[name, fromData("float32", new Float32Array([1, 2]), [2])]]));
const text = (content: string) => new TextEncoder().encode(content);

test("a page opens files from memory and Blobs alike, with or without the folder a picker puts before them", async () => {
  const files: [string, string | Uint8Array<ArrayBuffer>][] = [
    ["model-00001-of-00002.safetensors", weights("a")],
    ["model-00002-of-00002.safetensors", weights("b")],
    [
      "model.safetensors.index.json",
      '{"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}',
    ],
    ["config.json", '{"model_type":"llama"}'],
    ["modeling.py", "import os"],
  ];
  for (const folder of ["", "picked/"]) {
    for (const wrap of [
      (content: string | Uint8Array<ArrayBuffer>) => new Blob([content]),
      (content: string | Uint8Array<ArrayBuffer>) => (typeof content === "string" ? text(content) : content),
    ]) {
      const map = new Map(files.map(([name, content]) => [folder + name, wrap(content)]));
      const model = await openModelFromFiles(map);
      expect([...model.checkpoint.tensors.keys()]).toEqual(["a", "b"]);
      expect((await model.checkpoint.read("b")).data).toEqual(new Float32Array([1, 2]));
      expect(model.config).toEqual({ model_type: "llama" });
      expect([...model.files.keys()]).toEqual(["config.json"]);
      await model.close();
      const into = new Uint8Array(4);
      await (await openCheckpointFromFiles(map)).readBytes("a", { start: 4, into });
      expect(new Float32Array(into.buffer)).toEqual(new Float32Array([2]));
    }
  }
});

test("no files, and files without weights, are refused", async () => {
  await expect(openCheckpointFromFiles(new Map())).rejects.toMatchObject({ code: "NO_WEIGHTS" });
  await expect(openModelFromFiles(new Map([["a.bin", text("x")]]))).rejects.toMatchObject({
    code: "UNSUPPORTED_FORMAT",
  });
});

test("a Blob that can no longer be read is a changed file", async () => {
  const blob = new Blob([weights("a")]);
  const broken = Object.assign(Object.create(Blob.prototype), {
    slice: () => ({ arrayBuffer: () => Promise.reject(new DOMException("gone", "NotReadableError")) }),
  });
  Object.defineProperty(broken, "size", { value: blob.size });
  await expect(openCheckpointFromFiles(new Map([["model.safetensors", broken as Blob]]))).rejects.toMatchObject({
    code: "FILE_CHANGED",
  });
});

test("the allow-list holds configuration, tokenizers, processors, templates and papers, and nothing else", () => {
  const allowed = [
    ..."config.json generation_config.json adapter_config.json tokenizer.json tokenizer_config.json tokenizer.model".split(
      " ",
    ),
    ..."tokenizer.model.v3 vocab.json vocab.txt merges.txt special_tokens_map.json added_tokens.json spiece.model".split(
      " ",
    ),
    ..."sentencepiece.bpe.model source.spm qwen.tiktoken tekken.json preprocessor_config.json processor_config.json".split(
      " ",
    ),
    ..."video_preprocessor_config.json chat_template.json chat_template.jinja README.md LICENSE LICENSE.txt LICENCE".split(
      " ",
    ),
    ..."modules.json sentence_bert_config.json config_sentence_transformers.json 1_Pooling/config.json".split(" "),
    ..."LICENSE-APACHE NOTICE NOTICE.txt USE_POLICY.md additional_chat_templates/tool_use.jinja".split(" "),
  ];
  expect(allowed.filter((name) => !isCompanionFile(name))).toEqual([]);
  const refused = [
    ..."modeling_llama.py tokenization.py tokenizer.py config.py LICENSE.py README.sh tokenizer.pkl tokenizer.bin".split(
      " ",
    ),
    ..."pytorch_model.bin model.safetensors training_args.bin .gitattributes .env ../config.json a/config.json".split(
      " ",
    ),
    ..."config.json.py config.json\n x.so vocab.pt chat_template.py additional_chat_templates/../x.jinja model.onnx".split(
      " ",
    ),
    "additional_chat_templates/.x.jinja",
    "config.json\n",
    "",
  ];
  expect(refused.filter(isCompanionFile)).toEqual([]);
});
