import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtureArea, fixtureCases, readFixtureJson } from "@loomweight/fixtures";
import { expect, test } from "vitest";
import { run } from "./in-process.ts";

const scribe = join(fixtureArea("models") ?? "", "scribe");
const [adapter] = fixtureCases("models", { within: "scribe", marker: "adapter_config.json" }).filter((name) =>
  name.includes("lora"),
);

interface Record_ {
  readonly prompts: readonly { readonly text: string }[];
  readonly adapters: Record<string, { unmerged_peft: { prompts: readonly { greedy_ids: readonly number[] }[] } }>;
  readonly models: Record<string, { prompts: readonly { greedy_ids: readonly number[] }[] }>;
}

test.skipIf(adapter === undefined || !existsSync(join(scribe, "scribe-base")))(
  "an export with slots writes what was recorded with and without the adapter, from a folder, a file or a model",
  { timeout: 120_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "loomweight-cli-adapter-"));
    try {
      const expected = readFixtureJson<Record_>(join(scribe, "expected.json"));
      const prompt = expected.prompts[0].text;
      const peft = join(scribe, adapter);
      const web = join(folder, "web");
      // wherever the flag stands, what follows it is no layout
      const exported = await run("export", "--adapter-slots", join(scribe, "scribe-base"), web, "--json");
      expect(exported).toMatchObject({ exitCode: 0 });
      const file = join(folder, "names.onnx_adapter");
      const written = await run("adapter", web, peft, file, "--json");
      expect(written).toMatchObject({ exitCode: 0 });
      const { modules, parameters } = JSON.parse(written.stdout);
      const looked = JSON.parse((await run("inspect", file, "--json")).stdout);
      expect(looked).toMatchObject({ kind: "onnx_adapter", adapterVersion: 1 });
      expect(looked.parameters.length).toBe(parameters);
      expect(looked.parameters.map(({ name }: { name: string }) => name)).toContain(`${modules[0]}.lora_A`);
      expect((await run("inspect", file)).stdout).toMatch(/inputs, .* numbers/);
      expect(await run("adapter", web, peft, file)).toMatchObject({ exitCode: 1 }); // it exists
      expect(await run("adapter", web, peft, file, "--force")).toMatchObject({ exitCode: 0 });
      const graph = await run("adapter", web, peft, join(folder, "y.onnx_adapter"), "--graph", "modle");
      expect(graph.stderr).toMatch(/unknown graph "modle".*"model"/);
      expect(await run("adapter", peft, peft, join(folder, "z.onnx_adapter"))).toMatchObject({ exitCode: 1 });
      const ids = async (...words: string[]) => {
        const { exitCode, stdout, stderr } = await run("run", ...words, "-n", "32", "--json");
        expect(exitCode, stderr).toBe(0);
        return JSON.parse(stdout).ids;
      };
      const [base, adapted] = [expected.models["scribe-base"], expected.adapters[adapter].unmerged_peft];
      expect(await ids(web, prompt)).toEqual(base.prompts[0].greedy_ids);
      expect(await ids(web, prompt, "--adapter", peft)).toEqual(adapted.prompts[0].greedy_ids);
      expect(await ids(web, prompt, "--adapter", file)).toEqual(adapted.prompts[0].greedy_ids);
      expect(await ids(join(scribe, "scribe-base"), prompt, "--adapter", peft)).toEqual(adapted.prompts[0].greedy_ids);

      const plain = join(folder, "plain");
      await run("export", join(scribe, "scribe-base"), plain, "--no-verify");
      const refused = await run("run", plain, prompt, "--adapter", peft);
      expect(refused).toMatchObject({ exitCode: 1, stdout: "" });
      expect(refused.stderr).toMatch(/has no adapter slots.*--adapter-slots/);
      expect((await run("run", web, prompt, "--adapter", join(folder, "none.onnx_adapter"))).exitCode).toBe(1);
      const layout = await run("export", join(scribe, "scribe-base"), join(folder, "x"), "--adapter-layout", "colums");
      expect(layout.exitCode).toBe(2);
      const rows = await run("export", "--adapter-layout", "rows", join(scribe, "scribe-base"), join(folder, "rows"));
      expect(rows.exitCode).toBe(0);
      expect(readFixtureJson(join(folder, "rows", "adapter_slots.json"))).toMatchObject({ layout: "rows" });
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
