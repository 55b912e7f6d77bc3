import type { Attachment } from "@loomweight/adapters/attach";
import type { ImportedModel, Value } from "@loomweight/graph";
import { type DType, full, LoomweightError, type Tensor, zeros } from "@loomweight/tensor";

/** What the batch has for the model, and what follows from the shape of its ids. */
export function modelInputs(
  imported: ImportedModel,
  batch: Readonly<Record<string, Value>>,
): Readonly<Record<string, Value>> {
  const given: Record<string, Value> = {};
  for (const { name } of imported.inputs) if (batch[name] !== undefined) given[name] = batch[name];
  const ids = given.input_ids;
  const [rows, columns] = ids === undefined ? [0, 0] : (ids.shape as [number, number]);
  return { ...given, ...otherInputs(imported, given, [rows, columns]) };
}

/** What adapters of block scope are told, from a batch. Throws `INVALID_BATCH`. */
export function toldInputs(
  { blocks }: Pick<Attachment, "blocks">,
  batch: Readonly<Record<string, Value>>,
): Readonly<Record<string, Value>> {
  const told: Record<string, Value> = {};
  for (const { method, inputs } of blocks) {
    for (const [name, { dtype, shape }] of Object.entries(inputs)) {
      if (batch[name] === undefined) {
        throw new LoomweightError({
          code: "INVALID_BATCH",
          problem: `the batch does not have what ${method.name} is told`,
          expected: `"${name}", ${dtype} [${shape}]`,
          found: Object.keys(batch).join(", "),
        });
      }
      told[name] = batch[name];
    }
  }
  return told;
}

/**
 * The inputs of a decoder that a training step does not feed: an empty cache, positions 0, 1, …, a mask of ones.
 * `rows` × `columns` is the shape of the token ids. Throws `UNSUPPORTED_INPUT` for an input it does not know.
 */
export function otherInputs(
  imported: ImportedModel,
  given: Readonly<Record<string, Value>>,
  [rows, columns]: readonly [number, number],
): Record<string, Value> {
  const values: Record<string, Value> = {};
  for (const { name, dtype, shape } of imported.inputs) {
    if (given[name] !== undefined) continue;
    if (/^past_key_values\./.test(name) && shape?.length === 4) {
      // [batch, heads, past, size]: nothing is cached
      values[name] = zeros([rows, Number(shape[1]), 0, Number(shape[3])], (dtype ?? "float32") as DType);
    } else if (name === "attention_mask" || name === "token_type_ids" || name === "position_ids") {
      values[name] = integers(dtype === "int32" ? "int32" : "int64", rows, columns, name);
    } else if (name === "use_cache_branch") {
      values[name] = full([1], 0, "bool");
    } else {
      throw new LoomweightError({
        code: "UNSUPPORTED_INPUT",
        problem: `nothing says what the model's input "${name}" should be in training`,
        expected: "a tensor of that name in the batch",
        found: `${dtype} [${shape}]`,
      });
    }
  }
  return values;
}

function integers(dtype: "int32" | "int64", rows: number, columns: number, name: string): Tensor {
  const at = (index: number) => (name === "attention_mask" ? 1 : name === "position_ids" ? index % columns : 0);
  const numbers = Array.from({ length: rows * columns }, (_, index) => at(index));
  const tensor = zeros([rows, columns], dtype);
  numbers.forEach((value, index) => {
    tensor.data[index] = (dtype === "int64" ? BigInt(value) : value) as never;
  });
  return tensor;
}
