import { type Initializer, int, type LazyTensor, type OnnxModel } from "@loomweight/graph";
import { cast, type Tensor } from "@loomweight/tensor";
import { castParts } from "./cast-parts.ts";
import { finishEdit, makeOnnxNode, startEdit, usedNames } from "./edit.ts";
import { type Selection, selector } from "./selection.ts";

export type Bfloat16Options = Selection;

/** ONNX's numbers of the dtypes that are cast back to. */
const onnxTypes = { float32: 1, float16: 10 } as const;
type WideDType = keyof typeof onnxTypes;

/**
 * The model with its float weights of two or more axes stored in bfloat16, each followed by a Cast to what it was: half
 * the size of float32 and the same arithmetic, as onnxruntime casts constants once, when a session is made. Weights
 * that come from bfloat16 lose nothing; others are rounded half to even. A weight's bfloat16 form is named `<W>_bf16`.
 * Weights are cast as they are written. `include` and `exclude` name weights.
 * @throws `INVALID_OPTION`
 */
export function storeBfloat16(model: OnnxModel, options: Bfloat16Options = {}): OnnxModel {
  const selected = selector(options, "storeBfloat16");
  const edit = startEdit(model.graph);
  const used = usedNames(model.graph);
  const outputs = new Set([...model.graph.inputs, ...model.graph.outputs].map(({ name }) => name));
  for (const initializer of model.graph.initializers.values()) {
    const { name, shape, dtype } = initializer;
    const wide = dtype === "float32" || dtype === "float16" ? dtype : undefined;
    if (wide === undefined || shape.length < 2 || outputs.has(name) || !used.has(name) || !selected(name)) continue;
    const stored = edit.fresh(`${name}_bf16`);
    edit.initializers.delete(name);
    edit.initializers.set(stored, narrowed(initializer, stored, wide));
    const attributes = { to: int(onnxTypes[wide]) };
    edit.nodes.push(makeOnnxNode({ op: "Cast", name: `${name}/Cast`, inputs: [stored], outputs: [name], attributes }));
  }
  edit.nodes.push(...model.graph.nodes);
  return finishEdit(model, edit, { "": 13 });
}

function narrowed({ data, shape }: Initializer, name: string, from: WideDType): Initializer {
  const { stream } = data;
  const origin = data.origin && {
    tensors: data.origin.tensors,
    transform: [data.origin.transform, "cast bfloat16"].filter((step) => step !== undefined).join(", "),
  };
  const lazy: LazyTensor = {
    dtype: "bfloat16",
    shape,
    origin,
    together: data.together,
    read: async (): Promise<Tensor> => cast(await data.read(), "bfloat16"),
    ...(stream && { stream: () => castParts(stream(), from, "bfloat16") }),
  };
  return { name, dtype: "bfloat16", shape, data: lazy };
}
