import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { fixtureArea, readFixtureJson } from "@loomweight/fixtures";
import { afterAll, describe, expect, test } from "vitest";
import { mergeModel } from "../src/node/index.ts";
import { vocabularyOf } from "./tokens.ts";

interface Conversation {
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly add_generation_prompt: boolean;
  readonly text: string;
}

const area = fixtureArea("mergekit");
const scratch = mkdtempSync(join(tmpdir(), "loomweight-tokenizer-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const texts = [
  "abcd efgh",
  "ab cd zy ef 0123 01",
  "<|im_start|>ab<|im_end|>",
  "<s>abcdabcd</s> hat zyxwvut",
  "unknown: ÄÖ!",
  "h",
];

/** Cases of the references whose recipe says something about the tokenizer, by name. */
function recordedCases(): string[] {
  if (area === undefined) return [];
  return readdirSync(join(area, "expected")).filter((name) => {
    const recipe = join(area, "recipes", `${name}.yml`);
    const isMerge = existsSync(join(area, "expected", name, "tokenizer.json")) && existsSync(recipe);
    return isMerge && /^(tokenizer|tokenizer_source|chat_template):/m.test(readFileSync(recipe, "utf8"));
  });
}

describe.skipIf(area === undefined)("recorded tokenizers of mergekit", () => {
  const folder = area as string;
  const names = recordedCases();
  if (names.length === 0) {
    test("recorded tokenizers", (context) => context.skip("this folder of cases has none about tokenizers"));
  }
  for (const name of names) {
    test(`${name}: encodes, decodes and renders as recorded`, async () => {
      const out = join(scratch, name);
      await mergeModel(join(folder, "recipes", `${name}.yml`), out, { folder });
      const expected = join(folder, "expected", name);
      const [own, recorded] = [out, expected].map(openTokenizer);
      // Unions append tokens in an order that varies: numbers are compared by their tokens.
      const [vocabulary, wanted] = [out, expected].map(vocabularyOf);
      expect([...vocabulary.keys()].sort()).toEqual([...wanted.keys()].sort());
      expect([...vocabulary.values()].sort((a, b) => a - b)).toEqual([...wanted.values()].sort((a, b) => a - b));
      for (const text of texts) {
        const [mine, theirs] = [own.encode(text), recorded.encode(text)];
        expect(mine.tokens).toEqual(theirs.tokens);
        expect(mine.ids).toEqual(mine.tokens.map((token: string) => vocabulary.get(token)));
        expect(own.decode(mine.ids)).toBe(recorded.decode(theirs.ids));
      }
      compareTemplates(out, expected);
      const settings = readFixtureJson<Record<string, unknown>>(join(out, "tokenizer_config.json"));
      expect(settings).toMatchObject({ bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" });
    });
  }
});

function openTokenizer(folder: string): Tokenizer {
  const [file, settings] = ["tokenizer.json", "tokenizer_config.json"].map((name) =>
    readFixtureJson<object>(join(folder, name)),
  );
  return new Tokenizer(file, settings);
}

function compareTemplates(out: string, expected: string): void {
  const recorded = join(expected, "chat_template.jinja");
  const text = readFileSync(join(out, "chat_template.jinja"), "utf8");
  if (existsSync(recorded)) expect(text.trim()).toBe(readFileSync(recorded, "utf8").trim());
  const rendered = join(expected, "rendered.json");
  if (!existsSync(rendered)) return;
  const template = new Template(text);
  const conversations = readFixtureJson<Conversation[]>(rendered);
  expect(conversations.length).toBeGreaterThan(3);
  for (const { messages, add_generation_prompt, text: wanted } of conversations) {
    expect(template.render({ messages, add_generation_prompt, bos_token: "<s>", eos_token: "</s>" })).toBe(wanted);
  }
}
