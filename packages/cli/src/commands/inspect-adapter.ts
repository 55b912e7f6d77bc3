import { readFile } from "node:fs/promises";
import { readOnnxAdapter } from "@loomweight/onnx-export";
import { elementCount } from "@loomweight/tensor";
import type { CommandContext } from "../context.ts";
import { formatCount, plural } from "../output/format.ts";
import { formatTable } from "../output/table.ts";

/** How many inputs are listed unless all are asked for. */
const shown = 30;

/** Says what an .onnx_adapter file feeds. */
export async function inspectAdapter({ report }: CommandContext, all: boolean, path: string): Promise<void> {
  const file = readOnnxAdapter(await readFile(path), path);
  const parameters = [...file.parameters].map(([name, { dtype, shape }]) => ({ name, dtype, shape: [...shape] }));
  const numbers = parameters.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  report.data({
    kind: "onnx_adapter",
    adapterVersion: file.adapterVersion,
    modelVersion: file.modelVersion,
    parameters,
  });
  report.result(
    `${path}: an adapter for a graph's inputs: ${plural(parameters.length, "input")}, ${formatCount(numbers)} numbers, ` +
      `adapter version ${file.adapterVersion}, model version ${file.modelVersion}`,
  );
  const listed = all ? parameters : parameters.slice(0, shown);
  const rows = listed.map(({ name, dtype, shape }) => [name, dtype, `[${shape}]`]);
  for (const line of formatTable(
    ["input", "dtype", "shape"].map((title) => ({ title })),
    rows,
    report.style.bold,
  )) {
    report.result(line);
  }
  if (listed.length < parameters.length) report.result(`… and ${parameters.length - listed.length} more: --tensors`);
}
