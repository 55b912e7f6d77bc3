/** Turns a growing list of tokens into pieces of text that can be printed as they come. */
export interface TextStreamer {
  /** The text that `id` completes; empty while a character is still missing bytes. */
  push(id: number): string;
  /** What is still held back at the end. */
  end(): string;
}

/**
 * A streamer over a tokenizer's `decode`. The whole continuation is decoded each time, since tokenizers join pieces
 * by their neighbours; a tail of replacement characters (a character cut between tokens) is held back.
 */
export function streamText(prompt: readonly number[], decode: (ids: readonly number[]) => string): TextStreamer {
  const ids = [...prompt];
  let shown = decode(ids).length;
  const textFrom = (complete: boolean) => {
    const whole = decode(ids);
    const text = complete ? whole : whole.replace(/\ufffd+$/u, "");
    if (text.length <= shown) return "";
    const piece = text.slice(shown);
    shown = text.length;
    return piece;
  };
  return {
    push(id) {
      ids.push(id);
      return textFrom(false);
    },
    end: () => textFrom(true),
  };
}
