import { escapeControls } from "@loomweight/tensor/errors";
import { formatDuration } from "./format.ts";
import type { Streams } from "./streams.ts";
import { type Style, styleFor } from "./style.ts";
import { displayWidth, oneLine } from "./table.ts";

/** How far a step is: `done` of `total` in any unit. */
export interface Progress {
  readonly label: string;
  readonly done: number;
  readonly total: number;
  /** More about it, for people: "12 of 290 tensors, 620 MB/s". */
  readonly detail?: string;
  /** More about it, for programs. */
  readonly facts?: Readonly<Record<string, number | string>>;
}

/** What a command says while it works: results to stdout, everything else to stderr. */
export interface Reporter {
  readonly json: boolean;
  readonly style: Style;
  /** A line of the result, for people. Nothing under --json. */
  result(line: string): void;
  /** The result as data; printed under --json only. */
  data(value: unknown): void;
  /** A piece of the result as it comes, without a line end (the text that a model writes). */
  stream(text: string): void;
  /** A message, unless --quiet. Under --json it is an event: one line of JSON on stderr, as are warnings and progress. */
  note(line: string): void;
  warn(line: string): void;
  error(line: string): void;
  /**
   * One line that is rewritten on a terminal; elsewhere a plain line when `label` changes and every few seconds; under
   * --json an event a second. Nothing when --quiet.
   */
  progress(progress: Progress): void;
  /** Takes the progress line away. */
  settle(): void;
}

export interface ReporterOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly now?: () => number;
}

/** A reporter on two streams. */
export function createReporter(streams: Streams, options: ReporterOptions): Reporter {
  const { stdout, stderr } = streams;
  const { json, quiet } = options;
  const now = options.now ?? (() => performance.now());
  const style = styleFor(stderr, streams.environment);
  const live = stderr.isTTY === true && !quiet && !json && streams.environment?.TERM !== "dumb";
  let shown = false;
  let label: string | undefined;
  let began = 0;
  let drawn = 0;

  function settle(): void {
    if (shown) stderr.write("\r\u001b[K");
    shown = false;
  }
  function line(text: string): void {
    settle();
    stderr.write(`${text}\n`);
  }
  function event(name: string, facts: object): void {
    stderr.write(`${JSON.stringify({ event: name, ...facts })}\n`);
  }
  return {
    json,
    style: styleFor(stdout, streams.environment),
    result(text) {
      settle();
      if (!json) stdout.write(`${text}\n`);
    },
    data(value) {
      settle();
      if (json) stdout.write(`${JSON.stringify(value, plainNumbers, 2)}\n`);
    },
    stream(text) {
      settle();
      if (!json) stdout.write(escapeControls(text));
    },
    note(text) {
      if (quiet) return;
      if (json) event("note", { message: text });
      else line(escapeControls(text));
    },
    warn(text) {
      if (quiet) return;
      if (json) event("warning", { message: text });
      else line(`${style.yellow("warning:")} ${escapeControls(text)}`);
    },
    error(text) {
      line(`${style.red("error:")} ${escapeControls(text)}`);
    },
    progress(step) {
      if (quiet) return;
      const time = now();
      if (step.label !== label) {
        label = step.label;
        began = time;
        drawn = Number.NEGATIVE_INFINITY;
        if (!live && !json) {
          stderr.write(`${oneLine(step.label)}\n`);
          drawn = time;
        }
      }
      const isLast = step.done >= step.total;
      if (json) {
        if (time - drawn < 1000 && !isLast) return;
        const { done, total, facts } = step;
        const left = millisecondsLeft(step, time - began);
        event("progress", { label, done, total, ...facts, ...(left !== undefined && { millisecondsLeft: left }) });
        drawn = time;
        return;
      }
      if (!live) {
        if (time - drawn < 5000) return;
        drawn = time;
        stderr.write(`${plainProgress(step, time - began)}\n`);
        return;
      }
      // Ten pictures a second are enough, and the last one counts.
      if (time - drawn < 100 && !isLast) return;
      drawn = time;
      shown = true;
      stderr.write(`\r\u001b[K${progressLine(step, time - began, stderr.columns || 80)}`);
    },
    settle,
  };
}

/** An estimate once there is something to go by. */
function millisecondsLeft({ done, total }: Progress, elapsed: number): number | undefined {
  const share = total > 0 ? Math.min(1, Math.max(0, done / total)) : 1;
  return share > 0.02 && elapsed > 500 ? Math.round((elapsed * (1 - share)) / share) : undefined;
}

/** "merging: 58 %, 12 of 290 tensors, 620 MB/s, 1.2 s left". */
export function plainProgress(step: Progress, elapsed: number): string {
  const left = millisecondsLeft(step, elapsed);
  const percent = `${step.total > 0 ? Math.floor(Math.min(1, step.done / step.total) * 100) : 100} %`;
  const parts = [percent, step.detail, left === undefined ? undefined : `${formatDuration(left)} left`];
  return `${oneLine(step.label)}: ${parts.filter((part) => part !== undefined).join(", ")}`;
}

/** "merging  ━━━━━━━─────  58 %  1.2 s left", cut to the terminal's width. */
export function progressLine(step: Progress, elapsed: number, columns: number): string {
  const { label, done, total, detail } = step;
  const share = total > 0 ? Math.min(1, Math.max(0, done / total)) : 1;
  const milliseconds = millisecondsLeft(step, elapsed);
  const time = milliseconds === undefined ? "" : `${formatDuration(milliseconds)} left`;
  const wide = detail !== undefined && columns >= 80;
  const left = wide ? [detail, time].filter((part) => part !== "").join(", ") : time;
  const percent = `${Math.floor(share * 100)} %`.padStart(5);
  const name = oneLine(label);
  const room = Math.min(40, columns - displayWidth(name) - percent.length - left.length - 7);
  const filled = Math.round(share * Math.max(0, room));
  const bar = room < 5 ? "" : `${"━".repeat(filled)}${"─".repeat(room - filled)}  `;
  const text = `${name}  ${bar}${percent}  ${left}`.trimEnd();
  return text.length < columns ? text : text.slice(0, Math.max(0, columns - 1));
}

function plainNumbers(_key: string, value: unknown): unknown {
  // Infinity and NaN are no JSON; null would hide which of them it was.
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  return typeof value === "bigint" ? Number(value) : value;
}
