import { expect, test } from "vitest";
import * as everything from "../src/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort().join(" ")).toMatchInlineSnapshot(
    `"buildModel checkDevices defineFamily detectTask devices families familyOf invalidConfig isTask readConfigFields taskNamed tasks weightsOf"`,
  );
});

test("the tasks are these", () => {
  expect([...everything.tasks].sort().join(" ")).toMatchInlineSnapshot(
    `"automatic-speech-recognition feature-extraction fill-mask image-classification image-feature-extraction question-answering text-classification text-generation text2text-generation token-classification zero-shot-image-classification"`,
  );
});

test("the families are these, and each builds something for every class that it names", () => {
  expect(everything.families.map(({ name }) => name).join(" ")).toMatchInlineSnapshot(
    `"bart bert clip convnext deit dinov2 distilbert electra gemma gemma2 gemma3 gpt-neox gpt2 granite llama mistral modernbert mpnet olmo2 phi phi3 qwen2 qwen3 resnet roberta siglip smollm3 t5 vit whisper"`,
  );
  for (const { name, architectures, tasks, modelTypes } of everything.families) {
    expect(modelTypes.length, name).toBeGreaterThan(0);
    for (const [architecture, task] of Object.entries(architectures)) expect(tasks, architecture).toContain(task);
  }
  const types = everything.families.flatMap(({ modelTypes }) => modelTypes);
  expect(new Set(types).size).toBe(types.length);
});
