import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { caseName, isPresent, type PipelineCase, pipelineCases, prepareCase, sentenceCase } from "./pipelines/cases.ts";
import { runRequest } from "./pipelines/run-request.ts";

type Transformers = typeof import("@huggingface/transformers");
let transformers: Transformers;

beforeAll(async () => {
  transformers = await import("@huggingface/transformers");
  transformers.env.allowRemoteModels = false;
  transformers.env.useFSCache = false;
}, 60_000);

/** Runs one pipeline over a fresh export in Node. */
async function inNode(each: PipelineCase): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), "loomweight-pipelines-"));
  try {
    const recorded = await prepareCase(each, root, ["fp32"]);
    transformers.env.localModelPath = dirname(root);
    const model = `${basename(root)}/${caseName(each)}`;
    const request = { ...each.request(recorded), task: each.task, model };
    each.check(await runRequest(transformers, request, { dtype: "fp32", device: "cpu" }), recorded, 1e-4);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

for (const each of pipelineCases) {
  test(`transformers.js: ${each.task} over ${each.folder} gives what is recorded`, {
    timeout: 60_000,
  }, async (context) => {
    if (!isPresent(each)) context.skip("this folder is not among the fixtures at hand");
    await inNode(each);
  });
}

test("transformers.js: a sentence-transformers folder gives its own sentence_embedding", async (context) => {
  if (!isPresent(sentenceCase)) context.skip("this folder is not among the fixtures at hand");
  await inNode(sentenceCase);
});

test("every task with a pipeline has a case", () => {
  const tasks = new Set(pipelineCases.map(({ task }) => task));
  expect([...tasks].sort()).toEqual([
    "automatic-speech-recognition",
    "feature-extraction",
    "fill-mask",
    "image-classification",
    "image-feature-extraction",
    "question-answering",
    "text-classification",
    "text-generation",
    "text2text-generation",
    "token-classification",
    "zero-shot-image-classification",
  ]);
});
