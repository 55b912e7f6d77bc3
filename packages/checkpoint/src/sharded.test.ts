import { fromData, type LoomweightError } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { bytesSource } from "./bytes-source.ts";
import type { ByteSource } from "./checkpoint.ts";
import { openSharded } from "./sharded.ts";
import { writeSafetensors } from "./write-safetensors.ts";

const shard = (values: Record<string, number>) =>
  writeSafetensors(
    new Map(Object.entries(values).map(([name, value]) => [name, fromData("float32", new Float32Array([value]), [1])])),
  );
const shards: Record<string, Uint8Array> = {
  "m-00001-of-00002.safetensors": shard({ a: 1, b: 2 }),
  "m-00002-of-00002.safetensors": shard({ c: 3, d: 4, b: 99 }),
};
const closed: string[] = [];

function open(index: unknown, files: Record<string, Uint8Array> = shards) {
  const text = typeof index === "string" ? index : JSON.stringify(index);
  closed.length = 0;
  const track = (source: ByteSource): ByteSource => ({
    ...source,
    close: async () => {
      closed.push(source.name);
    },
  });
  return openSharded(track(bytesSource(new TextEncoder().encode(text), "index.json")), async (name) =>
    Object.hasOwn(files, name) ? track(bytesSource(files[name], name)) : undefined,
  );
}

const first = "m-00001-of-00002.safetensors";
const second = "m-00002-of-00002.safetensors";
const weightMap = { c: second, a: first, b: first };

test("tensors come from where the index places them, in the order of the shards", async () => {
  const checkpoint = await open({ metadata: { total_size: "nonsense" }, weight_map: weightMap });
  expect([...checkpoint.tensors.keys()]).toEqual(["a", "b", "c", "d"]); // d is not in the index, but there
  expect((await checkpoint.read("b")).data).toEqual(new Float32Array([2]));
  expect((await checkpoint.read("d")).data).toEqual(new Float32Array([4]));
  expect(checkpoint.metadata).toEqual({ format: "pt" });
  expect(closed).toEqual(["index.json"]);
  await checkpoint.close();
  expect(closed.sort()).toEqual(["index.json", first, second]);
});

const refused: [string, unknown, string, RegExp][] = [
  ["no JSON", "{", "INVALID_JSON", /index\.json/],
  ["no object", "[]", "INVALID_JSON", /an object/],
  ["no weight_map", {}, "INVALID_INDEX", /weight_map/],
  ["a weight_map that is a list", { weight_map: [] }, "INVALID_INDEX", /an array/],
  ["an empty weight_map", { weight_map: {} }, "INVALID_INDEX", /empty/],
  ["a number for a file", { weight_map: { a: 1 } }, "INVALID_INDEX", /"a"/],
  ["a tensor twice", `{"weight_map":{"a":"${first}","a":"${second}"}}`, "DUPLICATE_KEY", /"a"/],
  [
    "a missing shard",
    { weight_map: { ...weightMap, z: "m-00003.safetensors" } },
    "MISSING_SHARD",
    /m-00003\.safetensors/,
  ],
  ["a missing tensor", { weight_map: { ...weightMap, aa: first } }, "MISSING_TENSOR", /"aa".*Did you mean "a"/],
  ["a tensor placed in the wrong shard", { weight_map: { ...weightMap, a: second } }, "MISSING_TENSOR", /"a"/],
  ["a tensor in two shards and not in the index", { weight_map: { a: first, c: second } }, "DUPLICATE_TENSOR", /"b"/],
  ["shards of pickles", { weight_map: { a: "pytorch_model-00001.bin" } }, "UNSUPPORTED_FORMAT", /not supported yet/],
  ...[
    "../x.safetensors",
    "/etc/passwd",
    "a/../../x.safetensors",
    "..\\x.safetensors",
    "C:\\x.safetensors",
    ".x.safetensors",
    "",
    "a\u0000.safetensors",
    "a/./x.safetensors",
  ].map((name): [string, unknown, string, RegExp] => [
    `the name ${JSON.stringify(name)}`,
    { weight_map: { a: name } },
    "UNSAFE_NAME",
    /index\.json/,
  ]),
];
for (const [what, index, code, message] of refused) {
  test(`an index with ${what} is refused`, async () => {
    const error = (await open(index).catch((thrown: Error) => thrown)) as LoomweightError;
    expect(error).toMatchObject({ name: "LoomweightError", code });
    expect(error.message).toMatch(message);
    expect(closed).toContain("index.json");
  });
}

test("a broken shard is named, and every file is closed", async () => {
  const error = (await open({ weight_map: weightMap }, { ...shards, [second]: new Uint8Array(20) }).catch(
    (e: Error) => e,
  )) as LoomweightError;
  expect(error.details.file).toBe(second);
  expect(closed.sort()).toEqual(["index.json", first, second]);
});
