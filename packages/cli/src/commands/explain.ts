import type { ExplainedTensor } from "@loomweight/merge";
import { explainMerge } from "@loomweight/merge/node";
import type { CommandContext } from "../context.ts";
import { formatPairs, formatTable } from "../output/table.ts";
import type { ExplainFlags } from "../program.ts";

/** `loomweight explain RECIPE TENSOR`: how one tensor of a merge comes about, with the numbers that apply to it. */
export async function explain(
  context: CommandContext,
  options: ExplainFlags,
  recipe: string,
  tensor: string,
): Promise<void> {
  const explained = await explainMerge(recipe, tensor, { target: options.document });
  context.report.data(explained);
  printTensor(context, explained, undefined);
  for (const each of explained.documents) {
    context.report.result("");
    printTensor(context, each, each.document);
  }
}

function printTensor({ report }: CommandContext, explained: ExplainedTensor, document: string | undefined): void {
  const { vocabulary } = explained;
  const lines = formatPairs([
    ["document", document],
    ["tensor", explained.tensor],
    ["stored as", `${explained.dtype} [${explained.shape.join(", ")}]`],
    ["method", explained.method],
    ["formula", explained.formula],
    ["options", optionsText(explained.options) || undefined],
    [
      "rows",
      vocabulary &&
        `of every input rebuilt to ${vocabulary.tokens} tokens${vocabulary.rows > vocabulary.tokens ? `, padded to ${vocabulary.rows} rows` : ""}`,
    ],
  ]);
  for (const line of lines) report.result(line);
  const columns = [{ title: "" }, { title: "model" }, { title: "its tensor" }, { title: "" }];
  const rows = explained.inputs.map(({ symbol, model, tensor, cut, options, isDocument }) => [
    symbol,
    isDocument ? `${model} (document)` : model,
    tensor,
    [optionsText(options), cut === undefined ? "" : `cut to [${cut.join(", ")}]`]
      .filter((text) => text !== "")
      .join(", "),
  ]);
  for (const line of formatTable(columns, rows, report.style.bold)) report.result(line);
}

function optionsText(options: Readonly<Record<string, unknown>>): string {
  return Object.entries(options)
    .map(([name, value]) => `${name} ${typeof value === "number" ? Number(value.toPrecision(6)) : String(value)}`)
    .join(", ");
}
