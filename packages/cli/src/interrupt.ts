/** A way to learn that the user pressed Ctrl-C (or the system asked the process to end). */
export interface Interrupt {
  readonly signal: AbortSignal;
  /** Whether it happened. */
  interrupted(): boolean;
  /** Stops listening. */
  dispose(): void;
}

/** Ctrl-C, the system's request to end, the terminal closing. */
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Listens for them. The first aborts `signal`, so that the work under way stops at its next tile and
 * takes its temporary output away; a second one ends the process at once with exit code 130.
 */
export function listenForInterrupt(announce: () => void): Interrupt {
  const controller = new AbortController();
  const listener = () => {
    if (controller.signal.aborted) process.exit(130);
    announce();
    controller.abort();
  };
  for (const name of signals) process.on(name, listener);
  return {
    signal: controller.signal,
    interrupted: () => controller.signal.aborted,
    dispose() {
      for (const name of signals) process.off(name, listener);
    },
  };
}
