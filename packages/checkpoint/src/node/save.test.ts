import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromData } from "@loomweight/tensor";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeSafetensors } from "../write-safetensors.ts";
import { diskFileSystem } from "./output-file-system.ts";
import { saveSafetensors } from "./save.ts";

let root: string;
let path: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "loomweight-save-"));
  path = join(root, "a.safetensors");
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});
const tensors = (value: number) => new Map([["t", fromData("float32", new Float32Array([value]), [1])]]);

test("a file has the bytes of writing in memory; an existing one is refused, or replaced with force", async () => {
  await saveSafetensors(path, tensors(1), { metadata: { format: "np" } });
  expect(readFileSync(path).equals(writeSafetensors(tensors(1), { metadata: { format: "np" } }))).toBe(true);
  await expect(saveSafetensors(path, tensors(2))).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
  await saveSafetensors(path, tensors(3), { force: true });
  expect(readFileSync(path).equals(writeSafetensors(tensors(3)))).toBe(true);
  expect(readdirSync(root)).toEqual(["a.safetensors"]);
});

test("a failure leaves what was there, and nothing else", async () => {
  writeFileSync(path, "old");
  const full = { ...diskFileSystem(), freeBytes: async () => 10 };
  await expect(saveSafetensors(path, tensors(1), { force: true, fileSystem: full })).rejects.toMatchObject({
    code: "DISK_FULL",
  });
  const broken = {
    ...diskFileSystem(),
    async open(target: string, flags: string) {
      const handle = await diskFileSystem().open(target, flags);
      handle.sync = () => Promise.reject(Object.assign(new Error("EDQUOT"), { code: "EDQUOT" }));
      return handle;
    },
  };
  await expect(saveSafetensors(path, tensors(1), { force: true, fileSystem: broken })).rejects.toMatchObject({
    code: "DISK_FULL",
  });
  expect(readFileSync(path, "utf8")).toBe("old");
  await expect(saveSafetensors(join(root, "no", "a.safetensors"), tensors(1))).rejects.toMatchObject({
    code: "MISSING_FILE",
  });
  mkdirSync(join(root, "folder"));
  await expect(saveSafetensors(join(root, "folder"), tensors(1), { force: true })).rejects.toMatchObject({
    name: "LoomweightError",
  });
  expect(readdirSync(root)).toEqual(["a.safetensors", "folder"]);
});
