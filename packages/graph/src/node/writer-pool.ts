import { Worker } from "node:worker_threads";
import { errorFromWire, LoomweightError } from "@loomweight/tensor";
import type { WriteUnit } from "./write-units.ts";
import type { WriterReply, WriterRequest } from "./writer-protocol.ts";

export interface WriterPoolOptions {
  /** Threads, the calling one among them. */
  readonly workers: number;
  /** A script that calls `serveWriting`. */
  readonly script: URL;
  /** What it is told: plain data. */
  readonly task: unknown;
}

/** Threads that compute and write the weights of models, for `writeOnnxFile`. */
export interface WriterPool {
  /** Shares the units of one model out; see `PoolJob`. Throws the first failure; the pool is then of no more use. */
  run(job: PoolJob): Promise<void>;
  /** Ends the threads: after their work, or at once where something has failed. */
  close(): Promise<void>;
}

export interface PoolJob {
  readonly key: string;
  readonly digest: string;
  /** The files, which exist and are as long as they will be. */
  readonly paths: readonly string[];
  readonly units: readonly WriteUnit[];
  /** The calling thread's share. */
  writeHere(unit: number): Promise<unknown>;
  onFinished(unit: number, report: unknown): void;
  readonly signal?: AbortSignal;
}

/** A thread is given units until it has this many bytes to write, or this many units, beside the one at hand. */
const bytesAhead = 8 * 2 ** 20;
const unitsAhead = 32;
/** Of units that are larger than this one is worked on at a time: their weights may lie in memory. */
const heavyBytes = 64 * 2 ** 20;

interface Hand {
  readonly worker: Worker;
  readonly given: Set<number>;
  readonly ended: Promise<void>;
}

/**
 * Starts `workers` − 1 threads that write models together with the calling one. Each makes the models for itself; what
 * is written is the same for every number of them.
 */
export function createWriterPool({ workers, script, task }: WriterPoolOptions): WriterPool {
  let failure: { readonly reason: unknown } | undefined;
  let job: PoolJob | undefined;
  let queue: number[] = [];
  const heavy = new Set<number>();
  let changed = () => {};
  let closing = false;
  const fail = (reason: unknown) => {
    failure ??= { reason };
    changed();
  };
  const send = (hand: Hand, request: WriterRequest) => hand.worker.postMessage(request);

  /** The largest unit that may be begun now. */
  const take = (): number | undefined => {
    const units = job?.units ?? [];
    const at = queue.findIndex((unit) => heavy.size === 0 || units[unit].byteLength <= heavyBytes);
    if (at < 0) return undefined;
    const [unit] = queue.splice(at, 1);
    if (units[unit].byteLength > heavyBytes) heavy.add(unit);
    return unit;
  };
  const giveWork = (hand: Hand) => {
    if (job === undefined || failure !== undefined) return;
    const batch: number[] = [];
    let ahead = 0;
    for (const unit of hand.given) ahead += job.units[unit].byteLength;
    while (hand.given.size === 0 || (ahead < bytesAhead && hand.given.size < unitsAhead)) {
      const unit = take();
      if (unit === undefined) break;
      batch.push(unit);
      hand.given.add(unit);
      ahead += job.units[unit].byteLength;
    }
    if (batch.length > 0) send(hand, { kind: "write", units: batch });
  };
  const finished = (unit: number, report: unknown) => {
    heavy.delete(unit);
    job?.onFinished(unit, report);
    for (const hand of hands) giveWork(hand);
    changed();
  };
  const start = (): Hand => {
    // without this process's flags, which may be about its own script
    const worker = new Worker(script, { workerData: task, name: "loomweight-writer", execArgv: [] });
    const given = new Set<number>();
    worker.on("message", (reply: WriterReply) => {
      if (reply.kind === "failed") return fail(errorFromWire(reply.failure));
      given.delete(reply.unit);
      try {
        finished(reply.unit, reply.report);
      } catch (reason) {
        fail(reason);
      }
    });
    worker.on("error", (cause) => fail(workerFailed(cause.message, cause)));
    const ended = new Promise<void>((resolve) => {
      worker.on("exit", (code) => {
        if (!closing) fail(workerFailed(`it ended with code ${code}`));
        resolve();
      });
    });
    return { worker, given, ended };
  };
  const hands = Array.from({ length: workers - 1 }, start);

  return {
    async run(next) {
      if (failure !== undefined) throw failure.reason;
      const { units, key, digest, paths, signal } = next;
      const order = [...units.keys()];
      queue = order.sort((a, b) => units[b].byteLength - units[a].byteLength || a - b);
      job = next;
      const onAbort = () => fail(signal?.reason);
      signal?.throwIfAborted();
      signal?.addEventListener("abort", onAbort);
      try {
        for (const hand of hands) send(hand, { kind: "open", key, digest, paths });
        // this thread takes the largest, the others the next ones
        for (let first = true; failure === undefined; first = false) {
          const unit = take();
          if (first) for (const hand of hands) giveWork(hand);
          if (unit !== undefined) finished(unit, await next.writeHere(unit));
          else if (queue.length === 0 && hands.every(({ given }) => given.size === 0)) break;
          else {
            await new Promise<void>((resolve) => {
              changed = resolve;
              if (failure !== undefined) resolve();
            });
          }
        }
      } catch (reason) {
        fail(reason);
      } finally {
        signal?.removeEventListener("abort", onAbort);
        job = undefined;
      }
      if (failure === undefined) return;
      closing = true;
      // they compute and write files: nothing in them minds being stopped anywhere
      await Promise.all(hands.map(({ worker }) => worker.terminate()));
      throw (failure as { reason: unknown }).reason;
    },
    async close() {
      if (!closing) for (const hand of hands) send(hand, { kind: "end" });
      closing = true;
      await Promise.all(hands.map(({ ended }) => ended));
    },
  };
}

function workerFailed(problem: string, cause?: unknown): LoomweightError {
  return new LoomweightError({
    code: "WORKER_FAILED",
    problem: `a thread that writes weights failed: ${problem}`,
    fix: "Try fewer of them (--workers 1, or workers: 1).",
    cause,
  });
}
