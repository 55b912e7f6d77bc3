import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { run } from "../test/in-process.ts";

test("help that was asked for goes to stdout with exit code 0; of a command it lists the common options too", async () => {
  const whole = await run("--help");
  expect(whole).toMatchObject({ exitCode: 0, stderr: "" });
  for (const command of ["inspect", "diff", "merge", "fold", "export", "verify", "run"])
    expect(whole.stdout).toContain(command);
  const merge = await run("merge", "--help");
  expect(merge).toMatchObject({ exitCode: 0, stderr: "" });
  for (const option of ["--force", "--json", "--quiet", "--debug"]) expect(merge.stdout).toContain(option);
});

test("without a command the help goes to stderr with exit code 2", async () => {
  const { exitCode, stdout, stderr } = await run();
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toContain("Usage: loomweight");
});

test("the version is that of the package", async () => {
  expect(await run("--version")).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+/) });
});

test.each([
  ["a mistyped command", ["merg", "a", "b"], "(Did you mean merge?)"],
  ["a mistyped option", ["inspect", "--jsn", "x"], "(Did you mean --json?)"],
  ["a missing argument", ["merge", "recipe.yml"], "missing required argument 'out'"],
  ["a missing option", ["fold", "base", "adapter"], "required option '-o, --out <path>' not specified"],
  ["too many arguments", ["inspect", "a", "b"], "too many arguments"],
  ["an option's value of the wrong kind", ["run", "m", "p", "--seed", "-1"], "whole number"],
  ["a share above 1", ["run", "m", "p", "--top-p", "1.5"], "at most 1"],
  ["a size that is none", ["merge", "r", "o", "--shard-size", "big"], "A size such as 5GB"],
  ["an empty list", ["export", "m", "o", "--dtype", "fp32,"], "separated by commas"],
])("%s is a usage error: exit code 2, said on stderr", async (_, words, message) => {
  const { exitCode, stdout, stderr } = await run(...words);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
  expect(stderr).toContain(message);
});

test("control characters of an argument are escaped in the message", async () => {
  const { stderr } = await run("\u001b[2Jmerge");
  expect(stderr).not.toContain("\u001b");
  expect(stderr).toContain("\\u001b[2Jmerge");
});

test("an error of the input is one line on stderr, JSON under --json, with a stack only under --debug", async () => {
  const plain = await run("inspect", "/no/such/model");
  expect(plain).toMatchObject({ exitCode: 1, stdout: "" });
  expect(plain.stderr).toBe("error: /no/such/model: no such file or folder.\n");
  const json = await run("inspect", "/no/such/model", "--json");
  expect(JSON.parse(json.stderr)).toEqual({
    error: { code: "MISSING_FILE", message: "/no/such/model: no such file or folder." },
  });
  expect((await run("--debug", "inspect", "/no/such/model")).stderr).toMatch(/inspect\.ts:\d+/);
});

test("inspect says what a checkpoint holds, for people and as JSON", async () => {
  const folder = mkdtempSync(join(tmpdir(), "loomweight-cli-"));
  const path = join(folder, "model.safetensors");
  const header = JSON.stringify({
    __metadata__: { format: "pt" },
    "a\u001b[31m.weight": { dtype: "BF16", shape: [2, 3], data_offsets: [0, 12] },
  });
  const file = Buffer.alloc(8 + header.length + 12);
  file.writeBigUInt64LE(BigInt(header.length));
  file.write(header, 8);
  writeFileSync(path, file);
  const people = await run("inspect", path);
  expect(people.exitCode).toBe(0);
  expect(people.stdout).toMatch(/^tensors {3}1, 6 parameters, 12 B$/m);
  expect(people.stdout).toContain("a\\u001b[31m.weight  bfloat16  [2, 3]  12 B");
  const { stdout } = await run("inspect", path, "--json");
  expect(JSON.parse(stdout)).toMatchObject({
    kind: "weights",
    tensorCount: 1,
    parameterCount: 6,
    metadata: { format: "pt" },
    tensors: [{ name: "a\u001b[31m.weight", dtype: "bfloat16", shape: [2, 3], byteLength: 12 }],
  });
  rmSync(folder, { recursive: true });
});
