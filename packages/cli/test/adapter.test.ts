import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { fixtureArea, fixtureCases, readFixtureJson } from "@loomweight/fixtures";
import { adapterFile, parseAdapterSlots, slotValues, writeOnnxAdapter } from "@loomweight/onnx-export";
import { expect, test } from "vitest";
import { main } from "../src/main.ts";

const scribe = join(fixtureArea("models") ?? "", "scribe");
const [adapter] = fixtureCases("models", { within: "scribe", marker: "adapter_config.json" }).filter((name) =>
  name.includes("lora"),
);

interface Record_ {
  readonly prompts: readonly { readonly text: string }[];
  readonly adapters: Record<string, { unmerged_peft: { prompts: readonly { greedy_ids: readonly number[] }[] } }>;
  readonly models: Record<string, { prompts: readonly { greedy_ids: readonly number[] }[] }>;
}

async function run(...words: string[]) {
  const text = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    write(part: string) {
      text[name] += part;
    },
  });
  const exitCode = await main(words, { stdout: stream("stdout"), stderr: stream("stderr") });
  return { exitCode, ...text };
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
      const exported = await run("export", join(scribe, "scribe-base"), web, "--adapter-slots", "--json");
      expect(exported).toMatchObject({ exitCode: 0 });
      const slots = parseAdapterSlots(readFixtureJson(join(web, "adapter_slots.json")));
      const opened = await openAdapterFolder(peft);
      const file = join(folder, "names.onnx_adapter");
      writeFileSync(file, writeOnnxAdapter(adapterFile(slots, await slotValues(slots, opened))));
      await opened.checkpoint.close();
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
      const layout = await run("export", join(scribe, "scribe-base"), join(folder, "x"), "--adapter-slots", "colums");
      expect(layout.exitCode).toBe(2);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);
