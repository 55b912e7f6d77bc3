import { LoomweightError } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { compilePattern } from "./pattern.ts";

const place = { option: "target_modules", file: "adapter_config.json" };
const whole = (pattern: string, text: string) => compilePattern(pattern, place).matchesWhole(text);

// Answers of Python 3.11's re.fullmatch.
test.each([
  [".*(embed_tokens|v_proj)", "model.layers.0.self_attn.v_proj", true],
  [".*(embed_tokens|v_proj)", "model.layers.0.self_attn.v_proj_2", false],
  ["v_proj", "model.v_proj", false],
  ["(?!.*visual).*q_proj", "model.visual.q_proj", false],
  ["(?!.*visual).*q_proj", "model.text.q_proj", true],
  [".*(?<!cross)attn.q", "self_attn.q", true],
  [".*(?<!cross_)attn.q", "cross_attn.q", false],
  ["model\\.layers\\.[\\d]{1,}\\.(?:mlp|attn)\\.(?:(?:q|k))", "model.layers.12.attn.k", true],
  ["\\bmodel\\.layers\\.(?P<n>\\d+)\\.x", "model.layers.7.x", true],
  ["model.layers.([5-9]|1[0-9]).x", "model.layers.12.x", true],
  ["model.layers.([5-9]|1[0-9]).x", "model.layers.4.x", false],
  ["(?i)MODEL\\.Q", "model.q", true],
  ["a{,2}b", "aab", true],
  ["a{,2}b", "aaab", false],
  ["a{2}", "a{2}", false],
  ["a{x}", "a{x}", true],
  ["[]a]+", "]a]", true],
  ["[^]a]+", "bc", true],
  ["[a\\-z]+", "a-z", true],
  ["[a\\-z]+", "b", false],
  ["[\\\\a]+", "a\\\\", true],
  ["[\\w.-]+", "a.b-c_1", true],
  ["x|", "", true],
  ["(a|b)*?c", "abac", true],
  ["a(?#note)b", "ab", true],
  ["^a$", "a", true],
  ["\\Aa\\Z", "a", true],
  ["a$", "a\n", false],
  ["\\x41\\u0042", "AB", true],
  ["é+", "éé", true],
  ["\\w", "é", true],
])("%s against %s is %s", (pattern, text, expected) => {
  expect(whole(pattern, text)).toBe(expected);
});

test("matching from the start stops anywhere, unless the pattern ends with $", () => {
  expect(compilePattern("q_proj", place).matchesStart("q_proj.x")).toBe(true);
  expect(compilePattern("(.*\\.)?(q_proj)$", place).matchesStart("model.q_proj")).toBe(true);
  expect(compilePattern("(.*\\.)?(q_proj)$", place).matchesStart("model.q_proj.x")).toBe(false);
});

test("patterns that make a backtracking engine hang are answered at once", () => {
  const begin = performance.now();
  expect(whole("(a+)+b", "a".repeat(2000))).toBe(false);
  expect(whole("(a|a)*(a|a)*c", "a".repeat(2000))).toBe(false);
  expect(whole("(.*)*(.*)*(.*)*x", "y".repeat(2000))).toBe(false);
  expect(performance.now() - begin).toBeLessThan(2000);
});

test("counted repeats that explode are refused, not expanded", () => {
  const begin = performance.now();
  for (const pattern of ["((a{1000}){1000}){1000}", "(){1000000000}".concat("a{99999999}"), "(?:a{0,500}){0,500}"]) {
    expect(() => whole(pattern, "a")).toThrow(expect.objectContaining({ code: "PATTERN_TOO_COMPLEX" }));
  }
  expect(performance.now() - begin).toBeLessThan(2000);
});

test.each([
  ["(a)\\1", "UNSUPPORTED_PATTERN"],
  ["(?P<x>a)(?P=x)", "UNSUPPORTED_PATTERN"],
  ["(?>a)", "UNSUPPORTED_PATTERN"],
  ["a++", "UNSUPPORTED_PATTERN"],
  ["(a)(?(1)b)", "UNSUPPORTED_PATTERN"],
  ["(?x) a", "UNSUPPORTED_PATTERN"],
  ["(a", "INVALID_PATTERN"],
  ["a)", "INVALID_PATTERN"],
  ["*a", "INVALID_PATTERN"],
  ["[a", "INVALID_PATTERN"],
  ["a\\", "INVALID_PATTERN"],
  ["[z-a]", "INVALID_PATTERN"],
  ["a{3,2}", "INVALID_PATTERN"],
  ["\\q", "INVALID_PATTERN"],
  ["\\x4", "INVALID_PATTERN"],
  ["(?<name>a)", "INVALID_PATTERN"],
  ["a**", "INVALID_PATTERN"],
  ["(".repeat(300), "INVALID_PATTERN"],
  ["a".repeat(20_000), "INVALID_PATTERN"],
])("%s is refused by name", (pattern, code) => {
  try {
    compilePattern(pattern, place);
  } catch (error) {
    expect(error).toBeInstanceOf(LoomweightError);
    expect((error as LoomweightError).code).toBe(code);
    expect((error as LoomweightError).message).toContain("target_modules");
    return;
  }
  expect.unreachable();
});
