import type { Streams, TextStream } from "./streams.ts";

/** Emphasis for a terminal; the identity where colour is unwanted. */
export interface Style {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  yellow(text: string): string;
}

const plain: Style = { bold: (text) => text, dim: (text) => text, red: (text) => text, yellow: (text) => text };

const coloured: Style = {
  bold: (text) => `\u001b[1m${text}\u001b[22m`,
  dim: (text) => `\u001b[2m${text}\u001b[22m`,
  red: (text) => `\u001b[31m${text}\u001b[39m`,
  yellow: (text) => `\u001b[33m${text}\u001b[39m`,
};

/** Colour on a terminal unless NO_COLOR is set or the terminal is dumb. */
export function styleFor(stream: TextStream, environment: Streams["environment"] = {}): Style {
  const wanted = stream.isTTY === true && !environment.NO_COLOR && environment.TERM !== "dumb";
  return wanted ? coloured : plain;
}
