import { writeSafetensors } from "@loomweight/checkpoint";
import { tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { modelsAmong, openFromShelf } from "./models.ts";

const file = new Blob();
const namesIn = (paths: readonly string[], taken: readonly string[] = []) => {
  const models = modelsAmong(
    paths.map((path) => ({ path, file })),
    new Set(taken),
  );
  return Object.fromEntries([...models].map(([name, files]) => [name, [...files.keys()]]));
};

test("every folder with weights is a model, with the files below it; others are left out", () => {
  const paths = [
    "all/readme.txt",
    "all/a/config.json",
    "all/a/model.safetensors",
    "all/a/additional_chat_templates/x.jinja",
    "all/b/model-00001-of-00001.safetensors",
    "all/b/model.safetensors.index.json",
    "all/pictures/cat.png",
  ];
  expect(namesIn(paths)).toEqual({
    a: ["config.json", "model.safetensors", "additional_chat_templates/x.jinja"],
    b: ["model-00001-of-00001.safetensors", "model.safetensors.index.json"],
  });
});

test("files without a folder are one model; a name that is taken gets a number", () => {
  expect(namesIn(["model.safetensors", "config.json"])).toEqual({ model: ["model.safetensors", "config.json"] });
  expect(namesIn(["x/m/model.safetensors", "y/m/model.safetensors"], ["m"])).toEqual({
    "m-2": ["model.safetensors"],
    "m-3": ["model.safetensors"],
  });
});

test("a recipe's path means the model of that name, or of its last part", async () => {
  const weights = new Blob([writeSafetensors(new Map([["w", tensor([1])]])) as Uint8Array<ArrayBuffer>]);
  const shelf = new Map([["chat", new Map([["model.safetensors", weights]])]]);
  for (const path of ["chat", "models/chat", "someone/chat/"]) {
    expect((await openFromShelf(shelf, path)).location).toBe("chat");
  }
  await expect(openFromShelf(shelf, "someone/chats")).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
  await expect(openFromShelf(shelf, "someone/chats")).rejects.toThrow(/"chat"/);
});
