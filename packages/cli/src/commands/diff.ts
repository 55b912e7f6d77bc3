import { diffCheckpoints, type TensorDifference } from "@loomweight/checkpoint";
import { openCheckpoint } from "@loomweight/checkpoint/node";
import type { CommandContext } from "../context.ts";
import { formatCount, formatNumber, plural } from "../output/format.ts";
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
      const difference = await diffCheckpoints(first, second, {
        signal,
        onProgress: ({ bytesDone, bytesTotal }) =>
          report.progress({ label: "comparing", done: bytesDone, total: bytesTotal }),
      });
      report.data({ a, b, ...difference });
      const { tensors, onlyInA, onlyInB, incomparable } = difference;
      const changed = tensors.filter(({ differing }) => differing > 0);
      printTable(report, options.all === true ? tensors : changed);
      for (const name of onlyInA) report.result(`only in ${a}: ${name}`);
      for (const name of onlyInB) report.result(`only in ${b}: ${name}`);
      for (const { name, shapeA, shapeB } of incomparable) {
        report.result(`${name}: shapes differ, [${shapeA}] and [${shapeB}]`);
      }
      const rest = tensors.length - changed.length;
      report.result(
        changed.length + onlyInA.length + onlyInB.length + incomparable.length === 0
          ? `equal: ${plural(tensors.length, "tensor")}`
          : `${plural(changed.length, "tensor")} of ${tensors.length + incomparable.length} differ${rest === 0 ? "" : `, ${rest} equal`}`,
      );
    } finally {
      await second.close();
    }
  } finally {
    await first.close();
  }
}

function printTable(report: CommandContext["report"], tensors: readonly TensorDifference[]): void {
  if (tensors.length === 0) return;
  const right = (title: string) => ({ title, align: "right" as const });
  const columns = [
    { title: "tensor" },
    right("max abs"),
    right("relative L2"),
    right("cosine"),
    right("differing"),
    { title: "dtypes" },
  ];
  const rows = tensors.map((each) => [
    each.name,
    formatNumber(each.maxAbs),
    formatNumber(each.relativeL2),
    each.cosine.toFixed(6),
    `${formatCount(each.differing)} of ${formatCount(each.elements)}`,
    each.dtypeA === each.dtypeB ? "" : `${each.dtypeA}, ${each.dtypeB}`,
  ]);
  for (const line of formatTable(columns, rows, report.style.bold)) report.result(line);
}
