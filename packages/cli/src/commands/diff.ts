import { type CheckpointDiff, diffCheckpoints, type TensorDifference } from "@loomweight/checkpoint";
import { openCheckpoint } from "@loomweight/checkpoint/node";
import type { CommandContext } from "../context.ts";
import { formatCount, formatNumber, plural } from "../output/format.ts";
import type { Reporter } from "../output/reporter.ts";
import { formatTable } from "../output/table.ts";

/** `loomweight diff A B`: compares two checkpoints tensor by tensor. */
export async function diff(
  { report, signal }: CommandContext,
  options: { all?: boolean },
  a: string,
  b: string,
): Promise<void> {
  const first = await openCheckpoint(a);
  try {
    const second = await openCheckpoint(b);
    try {
      let done = 0;
      const total = first.tensors.size;
      const difference = await diffCheckpoints(first, second, {
        signal,
        onTensor: () => report.progress({ label: "comparing", done: ++done, total }),
      });
      report.data({ a, b, ...difference });
      printDiff(report, difference, { a, b, all: options.all === true });
    } finally {
      await second.close();
    }
  } finally {
    await first.close();
  }
}

function printDiff(report: Reporter, difference: CheckpointDiff, given: { a: string; b: string; all: boolean }): void {
  const { tensors, onlyInA, onlyInB, shapes } = difference;
  const changed = tensors.filter(({ differing, dtypes }) => differing > 0 || dtypes.a !== dtypes.b);
  printTable(report, given.all ? tensors : changed);
  for (const name of onlyInA) report.result(`only in ${given.a}: ${oneName(name)}`);
  for (const name of onlyInB) report.result(`only in ${given.b}: ${oneName(name)}`);
  for (const { name, a, b } of shapes) report.result(`${oneName(name)}: shapes differ, [${a}] and [${b}]`);
  const equal = tensors.length - changed.length;
  report.result(
    difference.equal
      ? `equal: ${plural(tensors.length, "tensor")}`
      : `${plural(changed.length, "tensor differs", "tensors differ")}, ${equal} equal`,
  );
}

function printTable(report: Reporter, tensors: readonly TensorDifference[]): void {
  if (tensors.length === 0) return;
  const right = (title: string) => ({ title, align: "right" as const });
  const columns = [
    { title: "tensor" },
    right("max abs"),
    right("relative L2"),
    right("cosine"),
    right("differing"),
    { title: "" },
  ];
  const rows = tensors.map(({ name, values, differing, elements, dtypes, nonFinite }) => [
    name,
    values === undefined ? "" : formatNumber(values.maxAbs),
    values === undefined ? "" : formatNumber(values.relativeL2),
    values === undefined ? "" : values.cosine.toFixed(6),
    `${formatCount(differing)} of ${formatCount(elements)}`,
    [
      dtypes.a === dtypes.b ? "" : `${dtypes.a} and ${dtypes.b}`,
      nonFinite === 0 ? "" : `${formatCount(nonFinite)} not finite`,
    ]
      .filter((note) => note !== "")
      .join(", "),
  ]);
  for (const line of formatTable(columns, rows, report.style.bold)) report.result(line);
}

function oneName(name: string): string {
  return JSON.stringify(name);
}
