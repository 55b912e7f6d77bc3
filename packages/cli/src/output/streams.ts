/** Where text goes: a stream of the process, or a collector in tests. */
export interface TextStream {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
  once?(event: "error", listener: (error: NodeJS.ErrnoException) => void): unknown;
}

/** What a run of the command touches of its process. */
export interface Streams {
  /** Results only. */
  readonly stdout: TextStream;
  /** Messages, progress, errors. */
  readonly stderr: TextStream;
  readonly environment?: Readonly<Record<string, string | undefined>>;
}
