import { expect, test } from "vitest";
import { streamText } from "./text-stream.ts";

/** Byte-level decoding, as most tokenizers do it: a token is a byte. */
const decode = (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids));

test("a character of several tokens appears once it is whole, and all pieces make the text", () => {
  const text = "née 重み";
  const bytes = [...new TextEncoder().encode(text)];
  const streamer = streamText(bytes.slice(0, 1), decode);
  const pieces = bytes.slice(1).map((id) => streamer.push(id));
  expect(pieces[0]).toBe("");
  expect(pieces[1]).toBe("é");
  expect(pieces.join("") + streamer.end()).toBe(text.slice(1));
});

test("an unfinished character is shown at the end", () => {
  const streamer = streamText([65], decode);
  expect(streamer.push(0xc3)).toBe("");
  expect(streamer.end()).toBe("\ufffd");
});
