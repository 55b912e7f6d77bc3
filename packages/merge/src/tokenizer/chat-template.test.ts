import { expect, test } from "vitest";
import { builtInChatTemplates, chooseChatTemplate } from "./chat-template.ts";

test("auto takes the most frequent template, white space around it ignored", () => {
  expect(chooseChatTemplate("auto", ["{a}", " {b}\n", "{b}"])).toBe("{b}");
  expect(chooseChatTemplate("auto", ["{a}", "{b}"])).toBe("{a}");
  expect(chooseChatTemplate("auto", [])).toBeUndefined();
});

test("a name gives the built-in, long text with a brace is a template, anything else is refused", () => {
  expect(chooseChatTemplate("chatml", [])).toBe(builtInChatTemplates.chatml);
  const text = "{% for m in messages %}{{ m.content }}{% endfor %}";
  expect(chooseChatTemplate(text, [])).toBe(text);
  expect(() => chooseChatTemplate("chatlm", [])).toThrow(/Did you mean "chatml"/);
  expect(() => chooseChatTemplate("this is long enough but no template", [])).toThrow(/unknown chat template/);
});
